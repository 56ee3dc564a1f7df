"""Callbacks: progress bar, seeding of each epoch, stopping, history.csv and the two checkpoints."""

import math
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar

from qc_lightning.core.atomic import replacing, write_text
from qc_lightning.core.bars import Progress
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.run import Run
from qc_lightning.core.shutdown import Stopped, StopRequest, graceful_shutdown
from qc_lightning.training.start import link

HISTORY_COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
LOSSES = ("train_loss", "val_loss")
_SAVE_SECONDS = 2.0  # a kill loses at most these epochs and the current one


class TrainingProgressBar(ProgressBar):
    """One progress bar for the entire training: steps of all epochs, and the last epoch's losses.

    Lightning's bars draw a line for every epoch's validation, which is too much for a training of ten seconds, and
    refresh more often than a person can read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the current step; only the first process shows one, and only for many steps."""
        if not (trainer.is_global_zero and pl_module.automatic_optimization):
            return
        total = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        steps = None if total == float("inf") else int(total)
        self._bar = Progress(desc="training", total=steps, initial=trainer.global_step, unit="step", mininterval=0.2)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Advance by one step."""
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch and its losses."""
        if self._bar is not None:
            shown = {
                name: f"{trainer.callback_metrics[name]:.3f}" for name in LOSSES if name in trainer.callback_metrics
            }
            self._bar.set_postfix(
                {"epoch": f"{trainer.current_epoch + 1}/{trainer.max_epochs}", **shown}, refresh=False
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the bar where the training stopped."""
        self.on_train_end(trainer, pl_module)

    def disable(self) -> None:
        """Do nothing: Lightning calls this in every process but the first, which never opens a bar."""


class CheckOptimizer(Callback):
    """Check that an optimizer's state fits its weights: torch's fused steps would read beyond its end."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the state loaded from a checkpoint.

        Raises:
            ValueError: a number or a tensor does not match its weight.
        """
        for optimizer in trainer.optimizers:
            for weight, state in optimizer.state.items():
                for name, value in state.items():
                    expected = torch.Size() if name == "step" else weight.shape
                    if not (isinstance(value, torch.Tensor) and value.shape == expected):
                        raise ValueError(f"{name} of a weight of {tuple(weight.shape)} in the state of the optimizer")


class SeedEpochs(Callback):
    """Seed torch before each epoch from (seed, epoch, process), so that a resumed run equals an uninterrupted one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed dropout and augmentation."""
        state = np.random.SeedSequence((self.seed, trainer.current_epoch, trainer.global_rank)).generate_state(1)
        torch.manual_seed(int(state[0]))


class StopTogether(Callback):
    """Stop all processes of a training at the same step when any of them gets Ctrl-C or SIGTERM.

    Otherwise the other processes would wait for one that has ended. They agree after every batch, as Lightning does
    for SIGTERM, but Lightning hangs if the signal comes during a collective operation. A training of one process is
    left to Lightning.
    """

    def __init__(self) -> None:
        self._handlers = ExitStack()
        self._stop: StopRequest | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the first signal from now on; a second one acts as usual."""
        if trainer.world_size > 1:
            self._stop = self._handlers.enter_context(graceful_shutdown())

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Agree on the stop between processes.

        Raises:
            Stopped: in every process, if one was asked to stop.
        """
        stop = self._stop
        if stop is not None and trainer.strategy.reduce_boolean_decision(stop.signal != 0, all=False):
            raise Stopped

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the signals' usual effect."""
        self._stop = None
        self._handlers.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signals' usual effect."""
        self.on_train_end(trainer, pl_module)

    on_test_start = on_predict_start = on_train_start
    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end
    on_test_end = on_predict_end = on_train_end


class History(Checkpoint):
    """Write history.csv: one row per epoch, rewritten atomically after each.

    It is a `Checkpoint`, because Lightning calls only those after the module has logged the epoch's metrics.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.epochs: list[dict[str, Any]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row."""
        logged = trainer.callback_metrics
        row = {name: logged[name].item() if name in logged else None for name in HISTORY_COLUMNS[1:-1]}
        # a solved head has no learning rate: Lightning gives it a mock optimizer
        lr = next((group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups), None)
        self.epochs.append({"epoch": trainer.current_epoch, **row, "lr": lr})
        if trainer.is_global_zero:
            write_text(self.run.history, csv_text(HISTORY_COLUMNS, [list(row.values()) for row in self.epochs]))

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, stored in the checkpoint for a resumed run."""
        return {"rows": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows from the checkpoint."""
        self.epochs = [{name: _figure(row.get(name)) for name in HISTORY_COLUMNS} for row in state_dict["rows"]]


def _figure(value: object) -> float | None:
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"expected a figure of an epoch, got {value!r}")
    return value


class Checkpoints(Checkpoint):
    """Write last.ckpt, to resume from, and best.ckpt, the epoch with the lowest validation loss.

    Of very short epochs not all are saved, but always the best and the last. Without a validation part the best is the
    last. Lightning's ModelCheckpoint would serialise the weights for each file; here the second file is a link to the
    first if both are the same epoch.

    Args:
        run: the run.
        restarts: whether the training restarts from the beginning after a kill, like the jobs of a sweep: last.ckpt is
            then written in the last epoch only, and best.ckpt without the optimizer's state, which saves a tenth of
            the time of a job on the embedded photos.
    """

    def __init__(self, run: Run, restarts: bool = False) -> None:
        self.run, self.restarts = run, restarts
        self.best_loss = float("inf")
        self.best_epoch = -1
        self.begun = False
        self._saved = -math.inf

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Record that a step is complete."""
        self.begun = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the epoch's validation, which Lightning runs before this hook."""
        loss = trainer.callback_metrics.get("val_loss")
        # without a validation part the last epoch is the best; with one, only validated epochs can be
        better = self.best_loss == math.inf if loss is None else not self.best_loss <= loss.item()
        if better:
            self.best_loss = math.inf if loss is None else loss.item()
            self.best_epoch = trainer.current_epoch
        over = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        over, best = over or 0 <= trainer.max_steps <= trainer.global_step, better and loss is not None
        if self.restarts and (best or (better and over)):
            with replacing(self.run.best, durable=False) as temporary:
                trainer.save_checkpoint(temporary, weights_only=True)
        due = best or time.monotonic() - self._saved >= _SAVE_SECONDS
        if not trainer.strategy.broadcast(over or (due and not self.restarts)):  # one clock decides for all processes
            return
        self._saved = time.monotonic()
        if not trainer.is_global_zero:
            # joins the gathering but writes nothing, since its temporary file would replace the real one
            trainer.save_checkpoint(self.run.last)
            trainer.strategy.barrier()
            return
        with replacing(self.run.last) as temporary:
            trainer.save_checkpoint(temporary)
        if better and not self.restarts:
            link(self.run.last, self.run.best)
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        """The best epoch so far."""
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best epoch from the checkpoint."""
        self.best_loss, self.best_epoch = float(state_dict["best_loss"]), int(state_dict["best_epoch"])
