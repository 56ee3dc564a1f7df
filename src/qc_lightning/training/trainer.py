"""The Lightning Trainer of a run: the user's flags, the run's callbacks and loggers."""

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from qc_lightning.config import TrainConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.core.shutdown import Stopped
from qc_lightning.core.suggestions import nearest
from qc_lightning.core.system import cores
from qc_lightning.models.precision import compute_in_float32
from qc_lightning.training.callbacks import (
    CheckOptimizer,
    Checkpoints,
    History,
    SeedEpochs,
    StopTogether,
    TrainingProgressBar,
)
from qc_lightning.training.classifier import Classifier
from qc_lightning.training.loggers import build_loggers

# defaults of a run: no sanity check before the training, no table of the layers
_DEFAULTS = {"num_sanity_val_steps": 0, "enable_model_summary": False, "use_distributed_sampler": False}
# flags that a run does not support, and what to do instead
_REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "enable_checkpointing": (lambda value: value is False, "the final figures are those of best.ckpt: leave it out"),
    "use_distributed_sampler": (bool, "a run deals its photos out to the processes itself: leave it out"),
    "barebones": (bool, "a run needs its checkpoints and figures: leave it out"),
    "overfit_batches": (bool, "it would validate on training photos: use trainer.limit_train_batches"),
    "limit_predict_batches": (lambda value: value is not None, "the threshold is set on these photos: leave it out"),
    "limit_test_batches": (lambda value: value is not None, "the test is of all test photos, or score_test=false"),
    "limit_train_batches": (lambda value: value == 0, "expected at least one batch"),
    "max_epochs": (lambda value: value == 0, "expected at least 1, or -1 with another end"),
    "max_steps": (lambda value: value == 0, "expected at least 1, or -1 with another end"),
    "model_registry": (bool, "a run keeps its checkpoints in its folder: leave it out"),
    "precision": (
        lambda value: str(value) in ("64", "64-true", "16-true", "bf16-true", "transformer-engine", "none"),
        "photos and weights are float32: expected 32-true, 16-mixed or bf16-mixed",
    ),
}

_UNFIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors that Lightning and torch raise on an edited checkpoint."""


def build_trainer(config: TrainConfig, run: Run, in_sweep: bool) -> Trainer:
    """Build the Trainer, with early stopping after `optim.patience` epochs without a lower validation loss.

    Args:
        config: of the run.
        run: the run, for checkpoints and history.
        in_sweep: whether the run is a job of a sweep.

    Raises:
        UserError: Lightning does not have or accept a flag, or a device is missing.
    """
    flags, patience = _checked(config.trainer), config.optim.patience
    if "ddp" in str(flags.get("strategy")) and in_sweep:
        # Lightning starts other processes with this command line, so each would start the complete sweep again
        raise UserError("trainer=ddp does not work inside a multirun (-m): give each job one device, trainer.devices=1")
    _quieten()
    compute_in_float32()
    checkpoints = Checkpoints(run, restarts=in_sweep)
    callbacks: list[Callback] = [CheckOptimizer(), SeedEpochs(config.seed), StopTogether(), History(run)]
    callbacks.append(checkpoints)
    if patience is not None:
        callbacks.append(EarlyStopping("val_loss", patience=patience))
    if flags.get("enable_progress_bar", True):
        callbacks.append(TrainingProgressBar())
    try:
        trainer = Trainer(**_DEFAULTS | flags, callbacks=callbacks, logger=build_loggers(config.logger, run))
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    most = max(2, cores())
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > most:
        raise UserError(f"trainer.devices: expected at most {most} processes on these cores, got {trainer.num_devices}")
    return trainer


def _checked(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags as lightning.Trainer takes them."""
    names = [name for name in inspect.signature(Trainer).parameters if name not in ("callbacks", "logger")]
    for name, value in flags.items():
        if name == "logger":
            raise UserError("trainer.logger: loggers are chosen by logger=tensorboard, mlflow or wandb")
        if name not in names:
            close = nearest(f"trainer.{name}", [f"trainer.{flag}" for flag in names])
            raise UserError(f"trainer.{name}: lightning.Trainer has no such flag{close}")
        refused, advice = _REFUSED.get(name, (None, ""))
        if refused is not None and refused(value):
            raise UserError(f"trainer.{name}={value}: {advice}")
    if flags.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no CUDA GPU is visible here; use trainer=cpu or trainer=auto")
    return dict(flags)


def fit(trainer: Trainer, model: LightningModule, data: LightningDataModule, run: Run, resume: bool) -> bool:
    """Train, from last.ckpt when resuming.

    Args:
        trainer: of `build_trainer`.
        model: the module to train.
        data: its photos.
        run: keeps the checkpoints.
        resume: whether the run is continued.

    Returns:
        False when Ctrl-C ended it after at least one epoch, else True.

    Raises:
        UserError: a flag does not suit the photos, which Lightning only finds now.
        KeyboardInterrupt: Ctrl-C came before the first epoch was over, and there is nothing to keep.
    """
    try:
        trainer.fit(model, data, ckpt_path=run.last if resume else None, weights_only=True)
    except (MisconfigurationException, *_UNFIT) as error:
        message = " ".join(str(error).split())
        if "more than 1 value per channel" in message:
            raise UserError("data.batch_size: a batch norm needs at least 2 photos a batch") from error
        if isinstance(error, MisconfigurationException) or "val_check_interval" in message:
            raise UserError(f"trainer: {message}") from error
        if resume and not _begun(trainer):
            reason = f"{type(error).__name__}: {message[:200]}"
            raise UserError(
                f"resume: {run.last} does not fit this training ({reason}): restore it or train again"
            ) from error
        raise
    except (
        SystemExit,
        Stopped,
    ) as end:  # how a single process leaves Lightning on Ctrl-C, and how several do
        if isinstance(end, SystemExit) and not trainer.interrupted:
            raise
        if not run.best.is_file():
            raise KeyboardInterrupt from None
        return False
    return True


def predict_all(trainer: Trainer, model: Classifier, data: LightningDataModule, run: Run, resume: bool) -> None:
    """Compute the logits of the best checkpoint and keep them in the model; arguments as for `fit`.

    Raises:
        UserError: it was there before the training was resumed, and does not fit.
    """
    try:
        trainer.predict(model, data, return_predictions=False, ckpt_path=run.best, weights_only=True)
    except _UNFIT as error:
        if resume and not model.logits:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"resume: {run.best} does not fit this training ({reason}): train again") from error
        raise


def _begun(trainer: Trainer) -> bool:
    """Whether a training step is complete; before that, errors come from the checkpoint that is continued."""
    return any(callback.begun for callback in trainer.callbacks if isinstance(callback, Checkpoints))  # type: ignore[attr-defined]


def _quieten() -> None:
    """Silence Lightning's advice on things that are decided here on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # one process already slices decoded pixels faster than workers could hand them over
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # Lightning 2.6 asks torch about its pytrees in a way that torch 2.12 and later deprecate
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*", FutureWarning)
    # no validation part is a choice (experiment=paper)
    warnings.filterwarnings("ignore", ".*Total length of `list` across ranks is zero.*")
    # torchmetrics gathers all processes before the metrics are logged
    warnings.filterwarnings("ignore", ".*sync_dist=True.*on epoch level in distributed setting.*")
    # a solved head has no optimizer
    warnings.filterwarnings("ignore", ".*this fit will run with no optimizer.*")
    # the logits carry their photos' positions themselves
    warnings.filterwarnings("ignore", ".*couldn't infer the indices fetched for your dataloader.*")
    # two optimizer steps an epoch are normal on a hundred photos
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
