"""Fit a head to the features of the training photos and compute its out-of-fold logits."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qc_lightning.config import TrainConfig
from qc_lightning.core.errors import UserError
from qc_lightning.data.photo import Photo
from qc_lightning.data.split import folds
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.linear import Folds
from qc_lightning.models.heads.perceptron import PerceptronHead, Schedule
from qc_lightning.training.imbalance import build_loss, resolve_imbalance
from qc_lightning.training.optimizer import build_optimizer

FOLDS = 5


class TrainingFeatures(NamedTuple):
    """The data that a head is fitted to.

    Attributes:
        features: float32 [1 + copies, n, tiles, width] of the n training photos and of their augmented copies.
        photos: the n photos, for their labels and groups.
        position: int64 [n], index of each photo in the dataset.
    """

    features: Tensor
    photos: Sequence[Photo]
    position: Tensor

    @property
    def label(self) -> Tensor:
        """1 for Incorrect, int64 [n]."""
        return torch.tensor([photo.label for photo in self.photos])


class HeadSettings(NamedTuple):
    """Settings of the fit.

    Attributes:
        penalty: weight of the squared norm of a linear head, above 0.
        imbalance: auto | none | pos_weight, for hidden layers also focal | sampler; see `resolve_imbalance`.
        seed: of the folds.
        schedule: how the weights of hidden layers are moved.
    """

    penalty: float
    imbalance: str
    seed: int
    schedule: Schedule

    @classmethod
    def from_config(cls, config: TrainConfig) -> "HeadSettings":
        """The settings from a run's config."""
        optimizer, epochs = partial(build_optimizer, config.optim), config.trainer["max_epochs"]
        schedule = Schedule(optimizer, epochs, config.data.batch_size, config.seed)
        return cls(config.model.penalty, config.imbalance, config.seed, schedule)


def fit_head(head: FittedHead | PerceptronHead, data: TrainingFeatures, settings: HeadSettings) -> Tensor | None:
    """Fit and cross-validate a head.

    A photo weighs 1 with all its copies, and they are in its fold.

    Args:
        head: on the CPU; it is fitted to all photos.
        data: the training photos.
        settings: how.

    Returns:
        Out-of-fold logits, float32 [n]: each photo's from a head that has seen neither it nor its group. None if a
        class has too few groups to be cross-validated.

    Raises:
        UserError: there are no Incorrect photos, and the Correct ones are of one group.
    """
    times, label = len(data.features), data.label
    fold = np.array(folds(data.photos, FOLDS, settings.seed), dtype=np.int64)
    # a single fold would leave nothing to fit on: fit to all, without out-of-fold logits
    alone = not fold.any()
    if alone and not data.label.any():
        raise UserError(
            "expected Correct photos of at least 2 parts, as without Incorrect photos the training measures how unlike "
            "each other they are, got 1 part: add photos, or say by data.group which photos show one part"
        )
    fold, labels = np.tile(fold + alone, times), label.repeat(times)
    counts = (int((label == 0).sum()), int((label == 1).sum()))
    balance = resolve_imbalance(settings.imbalance, counts)
    features = data.features.flatten(0, 1)
    if isinstance(head, FittedHead):
        groups = np.unique([photo.group for photo in data.photos], return_inverse=True)[1]
        group = torch.from_numpy(groups).repeat(times)
        training = Folds(labels, torch.from_numpy(fold), group, balance == "pos_weight", times)
        logit = head.fit(features, training, settings.penalty)
    else:
        logit = head.fit(features, labels, fold, build_loss(balance, counts), settings.schedule)
    return None if alone else logit[: len(label)]
