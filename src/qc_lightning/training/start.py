"""Start a training in a new run folder, or continue a stopped one."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from qc_lightning.config import TrainConfig
from qc_lightning.config.record import RunRecord
from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError, reading
from qc_lightning.core.run import Run
from qc_lightning.data.dataset import PhotoSet, split_csv
from qc_lightning.inference.checkpoint import read_checkpoint


def begin(
    run: Run,
    config: TrainConfig,
    photos: PhotoSet,
    trainer: Trainer,
    module: LightningModule,
    record: RunRecord | None,
) -> None:
    """Write split.csv, or check that the run in the folder can be continued; then write the record.

    Of several processes only the first does so.

    Args:
        run: the folder.
        config: of the run; with `resume` it is continued.
        photos: decoded and split.
        trainer: that is to train.
        module: that is to be trained.
        record: new content of config.yaml; None leaves it unchanged.

    Raises:
        UserError: the run cannot be continued.
    """
    if not trainer.is_global_zero:
        return
    split = split_csv(photos.photos, config.data.classes.names)
    if config.resume is None:
        run.start(split)
    else:
        run.resume(split)
        _check_resume(run, trainer, module)
    if record is not None:
        record.write(run)


def _check_resume(run: Run, trainer: Trainer, module: LightningModule) -> None:
    """Check that last.ckpt can be continued, and that best.ckpt belongs to it.

    last.ckpt is written first and says which epoch is the best one so far. After a kill between the two files that is
    the epoch of last.ckpt itself, and best.ckpt is made from it.
    """
    last = read_checkpoint(run.last)
    with reading(f"resume: {run.last}", "train again"):
        epoch, best_epoch = last["epoch"], last["callbacks"]["Checkpoints"]["best_epoch"]
        if not (isinstance(epoch, int) and isinstance(best_epoch, int)):
            raise TypeError(f"epochs {epoch} and {best_epoch}")
        _check_counts(last["loops"]["fit_loop"], trainer.fit_loop.state_dict())
        _same_settings(last["hyper_parameters"], module)
        _same_weights(last["state_dict"], module)
    limit = trainer.max_epochs
    if limit not in (None, -1) and limit < epoch + 1:
        raise UserError(
            f"trainer.max_epochs: expected at least {epoch + 1}, the epochs that {run.folder} already has, got {limit}"
        )
    if _epoch_of(run.best) == best_epoch:
        with reading(f"resume: {run.best}", "train again"):
            _same_weights(read_checkpoint(run.best)["state_dict"], module)
        return
    if best_epoch != epoch:
        raise UserError(f"resume: {run.best} is not the checkpoint of epoch {best_epoch}, the best one: train again")
    link(run.last, run.best)


def link(source: Path, target: Path) -> None:
    """Replace `target` by a hard link to `source`, or by a copy where the file system has none."""
    with replacing(target, durable=False) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _check_counts(stored: Mapping[str, Any], like: Mapping[str, Any]) -> None:
    """Refuse invalid counts of steps and epochs, to which Lightning would add at the end of the epoch."""
    for name, expected in like.items():
        if isinstance(expected, Mapping):
            _check_counts(stored[name], expected)
        elif not isinstance(stored[name], int) or stored[name] < 0:
            raise TypeError(f"{name} {stored[name]!r}")


def _epoch_of(checkpoint: Path) -> int | None:
    with suppress(UserError):  # missing or damaged
        epoch = read_checkpoint(checkpoint).get("epoch")
        return epoch if isinstance(epoch, int) else None
    return None


def _same_settings(stored: dict[str, Any], module: LightningModule) -> None:
    """Refuse another network or optimizer; settings that the checkpoint's release did not have are ignored."""
    for part, names in (("model", None), ("optim", ("name",))):
        before, now = stored[part], module.hparams[part]
        for name in before.keys() & now.keys() if names is None else before.keys() & set(names):
            if before[name] != now[name]:
                raise UserError(
                    f"resume: expected {part}.{name}={before[name]}, with which the training was begun, "
                    f"got {now[name]}: leave it out, or train again"
                )


def _same_weights(stored: dict[str, Any], module: LightningModule) -> None:
    # a head drops its distance to Correct photos if that does not help
    before, now = (
        {name: tuple(tensor.shape) for name, tensor in state.items() if ".distance." not in name}
        for state in (stored, module.state_dict())
    )
    if before != now:
        name = sorted(before.items() ^ now.items())[0][0]
        raise UserError(
            f"resume: the network is not the one that the training was begun with ({name}: expected "
            f"{before.get(name)}, got {now.get(name)}): give the same settings, or train again"
        )
