"""Settings without effect given the other ones: a sweep over them is refused, a single one is reported."""

from collections.abc import Iterable

from qc_lightning.config.training import TrainConfig


def without_effect(config: TrainConfig, keys: Iterable[str]) -> dict[str, str]:
    """Return which of these settings cannot change the model, and why.

    Args:
        config: all settings together.
        keys: dotted names, such as `optim.lr`.
    """
    idle: dict[str, str] = {}
    model, split = config.model, config.data.split
    if model.solved:
        why = f"the linear head of model.mode={model.mode} is solved exactly, in one step"
        names = ("optim.lr", "optim.weight_decay", "optim.patience", "optim.name", "optim", "data.batch_size")
        idle |= dict.fromkeys((*names, "trainer.max_epochs", "model.dropout"), why)
    if model.library == "own":
        pretrained = ("model.stages", "model.pool", "model.views", "model.penalty", "model.clip")
        idle |= dict.fromkeys(pretrained, "the paper's network has none of it")
    if not model.solved:
        idle["model.distance"] = "only the linear head of model.mode=frozen takes it"
    if config.decision.rule != "fixed":
        idle["decision.threshold"] = f"decision.rule={config.decision.rule} finds the threshold"
    if split.fold is None:
        idle["data.split.folds"] = "no data.split.fold is given"
    else:
        idle["data.split.val"] = "data.split.fold makes the validation part"
    return {key: idle[key] for key in keys if key in idle}
