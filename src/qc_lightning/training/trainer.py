"""The Lightning Trainer of a run: the user's flags as they are, the run's callbacks and logger."""

import inspect
import logging
import warnings
from collections.abc import Sequence

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from qc_lightning.config import TrainConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.core.suggestions import nearest
from qc_lightning.training.callbacks import Checkpoints, History, SeedEpochs, TrainingProgressBar
from qc_lightning.training.loggers import build_loggers

_OURS = ("callbacks", "logger")


def build_trainer(config: TrainConfig, run: Run, in_sweep: bool, callbacks: Sequence[Callback]) -> Trainer:
    """Build the Trainer, which stops early when the validation loss has not fallen for `optim.patience` epochs.

    Args:
        config: of the run.
        run: whose checkpoints and history.
        in_sweep: whether the run is a job of a sweep.
        callbacks: of the task; those of every run are added.

    Raises:
        UserError: a flag that Lightning does not have or does not accept, or a device that is not there.
    """
    flags, patience = config.trainer, config.optim.patience
    known = [name for name in inspect.signature(Trainer.__init__).parameters if name not in ("self", *_OURS)]
    for name in flags:
        if name not in known:
            raise UserError(f"trainer.{name}: lightning.Trainer has no such flag{nearest(name, known)}")
    if flags.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no CUDA GPU is visible here; use trainer=cpu or trainer=auto")
    if "ddp" in str(flags.get("strategy")) and in_sweep:
        # Lightning starts the further processes with this command line, so each would start the whole sweep again
        raise UserError("trainer=ddp does not work inside a multirun (-m): give each job one device, trainer.devices=1")
    _quieten()
    added: list[Callback] = [SeedEpochs(config.seed), History(run), Checkpoints(run, anew=in_sweep)]
    if patience is not None:
        added.append(EarlyStopping("val_loss", patience=patience))
    if flags.get("enable_progress_bar", True):
        added.append(TrainingProgressBar())
    try:
        return Trainer(**flags, callbacks=[*callbacks, *added], logger=build_loggers(config.logger, run))
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error


def fit(trainer: Trainer, model: LightningModule, data: LightningDataModule, run: Run, resume: bool) -> bool:
    """Train, from last.ckpt when resuming.

    Returns:
        False when Ctrl-C ended it after at least one epoch, else True.

    Raises:
        KeyboardInterrupt: Ctrl-C came before the first epoch was over, and there is nothing to keep.
    """
    try:
        trainer.fit(model, data, ckpt_path=run.last if resume else None, weights_only=True)
    except SystemExit:  # how Lightning ends on Ctrl-C, once its callbacks know
        if not trainer.interrupted:
            raise
        if not run.best.is_file():
            raise KeyboardInterrupt from None
        return False
    return True


def _quieten() -> None:
    """Keep Lightning from advising on what is decided here on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # one process already slices decoded pixels faster than workers could hand them over
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # Lightning 2.6 asks torch about its pytrees in a way that torch 2.12 and later deprecate
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*", FutureWarning)
    # no validation part is a choice (experiment=paper)
    warnings.filterwarnings("ignore", ".*Total length of `list` across ranks is zero.*")
    # torchmetrics has gathered what all processes saw before the figures are logged
    warnings.filterwarnings("ignore", ".*sync_dist=True.*on epoch level in distributed setting.*")
    # a head that is solved has no optimizer
    warnings.filterwarnings("ignore", ".*this fit will run with no optimizer.*")
    # the logits carry their photos' positions themselves
    warnings.filterwarnings("ignore", ".*couldn't infer the indices fetched for your dataloader.*")
    # two optimizer steps an epoch are normal on a hundred photos
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
