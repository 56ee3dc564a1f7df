"""Novelty: the distance of a photo's features to those of the nearest training photo.

A classifier gives any photo a probability, even one without a part; novelty says whether to trust it. Plain
tensor operations, so that it is saved with the weights and exported with the network.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qc_lightning.metrics.rules import exceeded_by

COORDINATES = 256
MOST_REFERENCES = 4096  # tiles of training photos that are kept: 4 MB
FOLDS = 10
_CANDIDATES = 20_000  # tiles from which distant references are selected
_AT_ONCE = 256  # tiles whose coordinates are computed at a time: their features are copied four times
_PROJECTED = 32  # coordinates in which they are selected
_PLACES = 8  # places per side in `pixel_features`
_FLOOR = 0.01  # smallest standard deviation of a feature relative to its size
_ROUNDING = 1e-4  # by which a feature differs between devices at most, relative to its size


class Novelty(nn.Module):
    """Distance to the nearest training photo in standardised features.

    Each feature is standardised by the training photos without clipping, since outliers are the target. Then all are
    summed with random signs into 256 coordinates, which preserves distances to about a tenth (a count sketch, Charikar
    et al. 2002; Weinberger et al. 2009). Unlike principal components this keeps the directions in which the training
    photos do not vary but novel ones do.

    Shapes: float [B, tiles, width] to float [B], 0 or above; the most distant tile counts.

    Args:
        width: number of features of a tile.
        references: number of stored training tiles.
        precision: of the distances. In double precision they do not depend on the batch; if photos come one at a time
            anyway, single precision takes a third of the time.
    """

    mean: Tensor
    scale: Tensor
    order: Tensor
    sign: Tensor
    reference: Tensor

    def __init__(self, width: int, references: int, precision: torch.dtype = torch.float64) -> None:
        super().__init__()
        self._precision, self._prepared = precision, _Prepared()
        coordinates = min(width, COORDINATES)
        filled = math.ceil(width / coordinates) * coordinates
        draw = torch.Generator().manual_seed(0)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("order", torch.randperm(filled, generator=draw))
        self.register_buffer("sign", 2.0 * torch.randint(2, (filled,), generator=draw) - 1)
        self.register_buffer("reference", torch.zeros(references, coordinates))

    def forward(self, features: Tensor) -> Tensor:
        """Return the distances."""
        return self.of_tiles(features).amax(1)

    def of_tiles(self, features: Tensor) -> Tensor:
        """Return each tile's own distance, [B, tiles]."""
        # |a - b|^2 = |a|^2 + |b|^2 - 2 ab
        at = self.coordinates(features.flatten(0, 1)).to(self._precision)
        reference, length = self._prepared.for_reference(self.reference, self._precision)
        # fused: intermediate results would be written to memory and read three times
        squared = torch.addmm(length, at, reference.T, alpha=-2).amin(1) + at.square().sum(1)
        nearest = squared.clamp(min=0).sqrt()
        return nearest.view(-1, features.shape[1]).float()

    def coordinates(self, features: Tensor) -> Tensor:
        """Return [N, 256] of features [N, width]."""
        standard = (features - self.mean) / self.scale
        filled = F.pad(standard, (0, len(self.order) - features.shape[1]))
        count = self.reference.shape[1]
        return (filled[:, self.order] * self.sign).view(-1, count, len(self.order) // count).sum(2)

    @property
    def resolution(self) -> float:
        """The distance below which photos may differ by rounding only: by `_ROUNDING` in every feature."""
        return _ROUNDING / _FLOOR * math.sqrt(len(self.mean))

    @classmethod
    def from_features(
        cls, features: Tensor, far_apart: int | None = None, precision: torch.dtype = torch.float64
    ) -> "Novelty":
        """Take scale and references from training photos.

        Args:
            features: float [n, tiles, width].
            far_apart: number of tiles to select far apart from each other, with repeats if there are fewer; None: up to
                4,096 evenly spaced ones.
            precision: of the distances.
        """
        vectors = features.flatten(0, 1)
        novelty = cls(vectors.shape[1], far_apart or min(len(vectors), MOST_REFERENCES), precision)
        novelty.mean.copy_(vectors.mean(0))
        spread = vectors.std(0, correction=0)
        smallest = _FLOOR * (novelty.mean.abs() + spread.median())
        novelty.scale.copy_(torch.maximum(spread, smallest).clamp(min=1e-6))
        if far_apart is None:
            kept = torch.linspace(0, len(vectors) - 1, len(novelty.reference)).long()
            blocks = [novelty.coordinates(vectors[some]) for some in torch.split(kept, _AT_ONCE)]
            novelty.reference.copy_(torch.cat(blocks))
        else:
            draw = torch.Generator().manual_seed(0)
            some = novelty.coordinates(vectors[torch.randperm(len(vectors), generator=draw)[:_CANDIDATES]])
            novelty.reference.copy_(some[_far_apart(some, far_apart, draw)])
        return novelty

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "Novelty":
        """Read back a `state_dict`.

        Raises:
            ValueError: the order of its coordinates is invalid.
        """
        novelty = cls(len(state["mean"]), len(state["reference"]))
        novelty.load_state_dict(state)
        if not torch.equal(novelty.order.sort().values, torch.arange(len(novelty.order))):
            raise ValueError("the coordinates of novelty are in no order")
        return novelty


class _Prepared:
    """Precomputed terms of the reference points, which are most of the work for a single photo.

    Not part of the state: an export, which has other tensors as references, computes its own.
    """

    def __init__(self) -> None:
        self._made: tuple[Tensor, int, Tensor, Tensor] | None = None

    def for_reference(self, reference: Tensor, precision: torch.dtype) -> tuple[Tensor, Tensor]:
        """References in this precision, [n, width], and their squared lengths, [n]."""
        version = 0 if reference.is_inference() else reference._version
        if self._made is None or self._made[0] is not reference or self._made[1] != version:
            precise = reference.to(precision)
            self._made = reference, version, precise, precise.square().sum(1)
        return self._made[2], self._made[3]


def _far_apart(points: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Positions [count] of points [n, width], each the farthest from those before it (greedy k-centre, Gonzalez 1985).

    A small subset of patches then also covers rare ones (PatchCore, Roth et al. 2022). Distances are computed in 32
    random coordinates.
    """
    if len(points) <= count:
        return torch.linspace(0, len(points) - 1, count).long()
    low = points @ torch.randn(points.shape[1], _PROJECTED, generator=draw)
    square = low.square().sum(1)
    nearest = (low - low.mean(0)).square().sum(1)
    kept = torch.empty(count, dtype=torch.int64)
    for place in range(count):
        at = kept[place] = nearest.argmax()
        distance = square + square[at] - 2 * (low @ low[at])
        nearest = distance if place == 0 else torch.minimum(nearest, distance)
    return kept


def held_out_distances(features: Tensor, fold: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Distances of training photos to references and scales that exclude them and their groups.

    Args:
        features: float [n, tiles, width].
        fold: int [n], at least two folds, numbered from 0 without gaps; photos of a group share a fold.

    Returns:
        Distances, float64 [n].
    """
    distances = np.empty(len(features))
    for number in range(int(fold.max()) + 1):
        held = fold == number
        distances[held] = Novelty.from_features(features[~held])(features[held]).double().numpy()
    return distances


def limit_of(distances: npt.NDArray[np.float64], groups: Sequence[str], rate: float) -> tuple[float, str]:
    """The distance above which a photo is novel, and its origin in words.

    The order statistic that a new photo of the same kind exceeds with a probability of at most `rate` (split conformal
    prediction, Vovk et al. 2005), or the largest distance if there are too few groups.

    Args:
        distances: float [n], of `held_out_distances`.
        groups: the group of each photo.
        rate: of false alarms, in (0, 1).

    >>> limit_of(np.arange(200.0), [str(i) for i in range(200)], 0.01)
    (198.0, 'exceeded by 1% of 200 training photos of 200 parts, each measured without its own part')
    """
    parts, limit = len(set(groups)), exceeded_by(distances, rate)
    what = f"{len(distances)} training photos of {parts} parts, each measured without its own part"
    if parts * rate < 1 or limit is None:
        return float(distances.max()), f"the largest of {what}; a rate of {rate:.0%} takes {math.ceil(1 / rate)} parts"
    return limit, f"exceeded by {rate:.0%} of {what}"


def pixel_features(image: Tensor) -> Tensor:
    """Brightness, texture and colour at 8 x 8 places of a photo, for networks without features.

    Args:
        image: float [B, 3, H, W] in [0, 1].

    Returns:
        float [B, 1, width]: means of the channels, logarithms of the mean steps of brightness over 1, 2 and 4 pixels in
        either direction, and of the mean deviations of the channels from grey.
    """
    cell = [max(1, side // _PLACES) for side in image.shape[2:]]
    grey = image.mean(1, keepdim=True)
    steps = []
    for reach in (1, 2, 4):
        steps.append(F.pad((grey[..., reach:] - grey[..., :-reach]).abs(), (0, reach)))
        steps.append(F.pad((grey[..., reach:, :] - grey[..., :-reach, :]).abs(), (0, 0, 0, reach)))
    texture, colour = F.avg_pool2d(torch.cat(steps, 1), cell), F.avg_pool2d((image - grey).abs(), cell)
    logs = [torch.log(part + 1 / 255).flatten(1) for part in (texture, colour)]
    return torch.cat([F.avg_pool2d(image, cell).flatten(1), *logs], 1)[:, None]
