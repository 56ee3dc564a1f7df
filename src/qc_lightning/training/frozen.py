"""Fit a head to features of a pretrained network, computed once per photo and kept on disk."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from qc_lightning.config import TrainConfig
from qc_lightning.core.atomic import csv_text, replacing, write_text
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.split import folds
from qc_lightning.evaluation.measure import Scores
from qc_lightning.models.heads.logistic import LogisticHead
from qc_lightning.models.heads.perceptron import PerceptronHead, Schedule
from qc_lightning.models.network import Network
from qc_lightning.models.tiles import max_over_tiles
from qc_lightning.training.callbacks import HISTORY_COLUMNS
from qc_lightning.training.classifier import Classifier
from qc_lightning.training.features import extract_features
from qc_lightning.training.imbalance import build_loss, resolve_imbalance

FOLDS = 5


def fit_frozen(trainer: Trainer, model: Classifier, photos: PhotoSet, run: Run, config: TrainConfig) -> Scores:
    """Compute the features, fit the head, save the checkpoint and a one-row history.

    Without a validation part its place is taken by out-of-fold logits of the training photos: each from a head that has
    not seen the photo or its group.

    Returns:
        Logits of each subset, `val` being the out-of-fold ones when there is no validation part.

    Raises:
        UserError: several processes were asked for.
    """
    if trainer.world_size > 1:
        raise UserError("model.mode=frozen works in one process: leave out trainer=ddp")
    network = cast(Network, model.network)
    features_of = _features(trainer, network, photos, config)
    features, learnt = features_of(np.arange(len(photos.photos)), 0), photos.indices("train")
    copies = [features_of(learnt, number) for number in range(1, 1 + config.model.copies)]
    head = _head(network)
    out_of_fold = fit_head(head, torch.stack([features[learnt], *copies]), photos, config)
    with torch.inference_mode():  # one photo at a time, as in prediction: a matrix product's last bits depend on that
        logit = torch.cat([max_over_tiles(head(tiles), network.tiles) for tiles in features])
    scores: dict[str, tuple[Tensor, Tensor]] = {}
    for subset in [name for name in photos.counts() if name != "test" or config.score_test]:
        rows = torch.from_numpy(photos.indices(subset))
        scores[subset] = (rows, logit[rows])
    if "val" not in scores and out_of_fold is not None:
        scores["val"] = (scores["train"][0], out_of_fold)
    _save(trainer, model, run, scores, photos)
    return scores


def fit_head_first(trainer: Trainer, model: Classifier, photos: PhotoSet, config: TrainConfig) -> None:
    """Before fine-tuning, fit the head as a frozen network's.

    The stages that then learn with it are not led astray by a head that knows nothing yet (Kumar et al. 2022).
    """
    network = cast(Network, model.network)
    features_of = _features(trainer, network, photos, config)
    features = [features_of(photos.indices("train"), number) for number in range(1 + config.model.copies)]
    fit_head(_head(network), torch.stack(features), photos, config)
    network.train()


def _features(
    trainer: Trainer, network: Network, photos: PhotoSet, config: TrainConfig
) -> Callable[[npt.NDArray[np.int64], int], Tensor]:
    """What gives the features of some photos, or of a numbered copy of them."""
    device = trainer.strategy.root_device
    cache = Path(config.data.cache_dir).expanduser() / "features" if config.data.cache == "disk" else None
    network.eval().to(device)
    return lambda rows, copy: extract_features(network, photos, rows, device, cache, copy, config.augment)


def _head(network: Network) -> LogisticHead | PerceptronHead:
    head = network.head.cpu()
    assert isinstance(head, LogisticHead | PerceptronHead)
    return head


def fit_head(
    head: LogisticHead | PerceptronHead, features: Tensor, photos: PhotoSet, config: TrainConfig
) -> Tensor | None:
    """Fit the head to the training part; return its out-of-fold logits, or None when it cannot be cross-validated.

    Args:
        head: to fit.
        features: float [1 + copies, n, tiles, width] of the n training photos and their copies; a photo weighs 1 with
            all its copies, and they are in its fold.
        photos: the set that the training photos are of.
        config: of the run.
    """
    rows, times = photos.indices("train"), len(features)
    fold = np.array(folds([photos.photos[i] for i in rows], FOLDS, config.seed), dtype=np.int64)
    label = torch.from_numpy(photos.labels[rows])
    # a single fold would leave nothing to fit on: fit to all, and have no out-of-fold logits
    alone = not fold.any()
    fold, labels = np.tile(fold + alone, times), label.repeat(times)
    counts = (int((label == 0).sum()), int((label == 1).sum()))
    balance = resolve_imbalance(config.imbalance, counts)
    if isinstance(head, LogisticHead):
        logit = head.fit(features.flatten(0, 1), labels, times * config.model.penalty, fold, balance == "pos_weight")
    else:
        optim, epochs = config.optim, config.trainer["max_epochs"]
        schedule = Schedule(optim.lr, optim.weight_decay, epochs, config.data.batch_size, config.seed)
        logit = head.fit(features.flatten(0, 1), labels, fold, build_loss(balance, counts), schedule)
    return None if alone else logit[: len(rows)]


def _save(trainer: Trainer, model: Classifier, run: Run, scores: Scores, photos: PhotoSet) -> None:
    trainer.strategy.connect(model)  # what save_checkpoint reads; there is no fit to do it
    with replacing(run.last) as temporary:
        trainer.save_checkpoint(temporary)
    with replacing(run.best) as temporary:
        shutil.copyfile(run.last, temporary)
    row: list[object] = [0]
    for subset in ("train", "val"):
        index, logit = scores.get(subset, (torch.empty(0, dtype=torch.int64), torch.empty(0)))
        label = torch.from_numpy(photos.labels)[index].float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, label)
        right = ((logit >= 0) == (label == 1)).float().mean()
        row += [loss.item(), right.item()] if len(index) else [None, None]
    write_text(run.history, csv_text(HISTORY_COLUMNS, [[*row, None]]))
