"""Train a pass/fail classifier: `python -m qc_lightning.train`, settings as Hydra overrides."""

from qc_lightning.cli.app import run_command
from qc_lightning.config import TrainConfig
from qc_lightning.config.record import RunRecord
from qc_lightning.core.run import Run


def train(config: TrainConfig, run: Run, record: RunRecord | None = None, in_sweep: bool = False) -> Run:
    """Train, evaluate and report a classifier; all files go to the run's folder.

    Args:
        config: all settings; with `resume`, those for the rest of the training.
        run: the run's folder, claimed for a new run.
        record: new content of config.yaml; None leaves it unchanged.
        in_sweep: whether this is a job of a sweep.
    """
    from qc_lightning.core.timing import Timing
    from qc_lightning.data.dataset import load_photos

    timing = Timing()
    from qc_lightning.training import outcome
    from qc_lightning.training.loggers import log_outcome
    from qc_lightning.training.modes import build_module
    from qc_lightning.training.novelty import fit_novelty
    from qc_lightning.training.start import begin
    from qc_lightning.training.trainer import build_trainer, fit, predict_all

    trainer = build_trainer(config, run, in_sweep)
    timing.done("imports")
    photos = load_photos(config.data, good_only=config.model.solved)
    timing.done("photos")
    module, data = build_module(config, photos)
    begin(run, config, photos, trainer, module, record)
    timing.done("setup")
    finished = fit(trainer, module, data, run, resume=config.resume is not None)
    predict_all(trainer, module, data, run, resume=config.resume is not None)
    decision = outcome.decide(module.logits, photos.photos, config.decision)
    if finished and config.score_test:  # after Ctrl-C the test photos stay unseen until the training is complete
        module.threshold = decision.threshold
        trainer.test(module, data, verbose=False)
    timing.done("fit")
    if trainer.is_global_zero:
        looked_at = outcome.positions_of(module.logits)
        novelty = fit_novelty(module.network, data, photos, looked_at, config.decision.novelty, config.seed)
        timing.done("novelty")
        metrics = outcome.write(run, config, photos, module, decision, novelty, timing, finished)
        log_outcome(trainer.loggers, metrics, trainer.global_step, run.folder / "report.html")
    if not finished:
        raise SystemExit(130)
    return run


def main() -> None:
    """Run the command."""
    run_command(train, "train")


if __name__ == "__main__":
    main()
