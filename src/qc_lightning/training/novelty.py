"""Fit novelty at the end of a training: the distance from the training photos beyond which a person has to look."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.decoding.decode import scaled
from qc_lightning.metrics.batch import batch_limit
from qc_lightning.metrics.intervals import wilson
from qc_lightning.models.network import Network, block_of
from qc_lightning.models.novelty import FOLDS, MOST_REFERENCES, Novelty, held_out_distances, limit_of, pixel_features
from qc_lightning.models.tiles import blockwise
from qc_lightning.training.feature_data import FeatureDataModule
from qc_lightning.training.features import extract_features

_AT_ONCE = 256  # photos whose features are in memory as floats


@dataclass(frozen=True)
class NoveltyFit:
    """Result of the fit.

    Attributes:
        novelty: measures the distance.
        limit: novelty above which a person looks at the photo.
        source: in words, where the limit is from.
        batch_limit: above it the median distance of a batch is unlike those of training groups; None: too few groups.
        distances: of the photos of the set, float64 [n]; not a number where it was not measured.
    """

    novelty: Novelty
    limit: float
    source: str
    batch_limit: float | None
    distances: npt.NDArray[np.float64]

    def summary(self, test: npt.NDArray[np.int64]) -> dict[str, object]:
        """The entry in metrics.json: the limit, and the fraction of test photos above it (95% Wilson interval).

        Args:
            test: positions of the evaluated test photos, [n].
        """
        above, n = int((self.distances[test] > self.limit).sum()), len(test)
        low, high = wilson(above, n)
        figure = {"value": above / n, "low": low, "high": high} if n else None
        of_test = {"n": n, "above": above, "rate": figure}
        return {"limit": self.limit, "source": self.source, "batch_limit": self.batch_limit, "test": of_test}


def fit_novelty(
    network: nn.Module,
    data: LightningDataModule,
    photos: PhotoSet,
    positions: npt.NDArray[np.int64],
    rate: float | None,
    seed: int,
) -> NoveltyFit | None:
    """Measure the novelty of the training photos against each other, and of all other photos against them.

    Args:
        network: trained, in eval mode.
        data: what it was trained on.
        photos: all of them.
        positions: photos that may be used, int64 [n]; without the test part while that is unseen.
        rate: of false alarms, in (0, 1); None: nothing is measured.
        seed: of the folds that the training groups are dealt into.

    Returns:
        None if it cannot be measured: the training photos are of one group.
    """
    train = photos.indices("train")
    groups = [photos.photos[i].group for i in train]
    fold = _dealt(groups, seed)
    if rate is None or not fold.any():
        return None
    with torch.inference_mode():
        features = _features(network, data, photos, positions)
        # a sample is enough: all pairwise distances of very many photos take a minute and may not fit in memory
        kept = np.linspace(0, len(train) - 1, min(len(train), MOST_REFERENCES)).astype(np.int64)
        learnt = torch.cat([features(some) for some in _in_parts(train[kept])])
        kept_fold = np.unique(fold[kept], return_inverse=True)[1]
        apart = held_out_distances(learnt, kept_fold)
        of_kept = [groups[i] for i in kept]
        limit, source = limit_of(apart, of_kept, rate)
        batch = batch_limit(apart, of_kept)
        novelty = Novelty.from_features(learnt).eval()
        if limit < novelty.resolution:  # a network that gives all photos the same features
            limit, source = novelty.resolution, "rounding: the network gives all training photos the same features"
            batch = None
        distances = np.full(len(photos.photos), np.nan)
        for some in _in_parts(positions):
            measured = blockwise(lambda tiles: (novelty(tiles),), features(some), block_of(network))[0]
            distances[some] = measured.double().numpy()
    return NoveltyFit(novelty, limit, source, batch, distances)


def _dealt(groups: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """The fold of each photo, from 0; photos of a group share a fold."""
    names, place = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[place]


def _in_parts(positions: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(positions), _AT_ONCE):
        yield positions[start : start + _AT_ONCE]


def _features(
    network: nn.Module, data: LightningDataModule, photos: PhotoSet, positions: npt.NDArray[np.int64]
) -> Callable[[npt.NDArray[np.int64]], Tensor]:
    """Returns a function that gives the features of some of these photos, as the Inspector computes them.

    Float32 [n, tiles, width] on the CPU: of very many photos they would not fit in memory.
    """
    if not isinstance(network, Network):
        return lambda some: pixel_features(scaled(torch.from_numpy(photos.pixels(some))))
    width = network.pooled_width
    if isinstance(data, FeatureDataModule):
        return lambda some: data.features[some][..., :width].float()
    # after a training, Lightning leaves the network on the CPU
    device = next(network.parameters()).device if data.trainer is None else data.trainer.strategy.root_device
    features = extract_features(network.eval().to(device), photos, positions, device, None)
    return lambda some: features[np.searchsorted(positions, some)][..., :width].float()
