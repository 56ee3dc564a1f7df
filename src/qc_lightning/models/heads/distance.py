"""The distance to the nearest Correct training photos, a score that needs no Incorrect ones.

Of small patches where the network has them (PatchCore, Roth et al. 2022), else of the pooled features of each tile.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from qc_lightning.metrics.rules import OVERKILL_RATE, exceeded_by
from qc_lightning.models.heads.linear import Folds
from qc_lightning.models.novelty import MOST_REFERENCES, Novelty
from qc_lightning.models.photo_threads import photo_threads

FARTHEST = 3  # patches that stand for a photo
_MOST_PHOTOS = 500  # whose tiles the references are taken from


class DistanceHead(nn.Module):
    """A linear function of the distance to Correct training photos.

    Distances below the smallest one of a photo outside the references count as that one: near 0 they are rounding
    errors.

    Shapes: pooled features float [B, width] and patches float [B, cells, channels] to float [B, 1].

    Args:
        width: pooled features of a photo or tile.
        patches: cells of the patch map and channels of each; None without patches, then the pooled features count.
    """

    slope: Tensor
    offset: Tensor
    least: Tensor

    def __init__(self, width: int, patches: tuple[int, int] | None) -> None:
        super().__init__()
        self.of_patches = patches is not None
        self.near = Novelty(width if patches is None else patches[1], MOST_REFERENCES, torch.float32)
        self.register_buffer("slope", torch.zeros(1))
        self.register_buffer("offset", torch.zeros(1))
        self.register_buffer("least", torch.zeros(1))

    def forward(self, pooled: Tensor, patches: Tensor) -> Tensor:
        """Return the photos' scores."""
        return self.slope * self.distances(pooled, patches)[:, None] + self.offset

    def distances(self, pooled: Tensor, patches: Tensor) -> Tensor:
        """Return the distances, 0 or above, [B]."""
        return self.of_photo(self.of_cells(patches if self.of_patches else pooled[:, None]))

    def of_cells(self, cells: Tensor) -> Tensor:
        """Return the distance of each patch, or of each tile's pooled features, [B, cells]."""
        return self.near.of_tiles(cells.float())

    def of_photo(self, distances: Tensor) -> Tensor:
        """Return the photos' distances [B]: the mean of a photo's farthest patches, or its farthest tile."""
        far = distances.topk(FARTHEST, dim=1).values.mean(1) if self.of_patches else distances.amax(1)
        return torch.maximum(far, self.least)

    def held_out(self, pooled: Tensor, patches: Tensor, photos: Folds) -> "HeldOutDistances":
        """Distances of training photos to Correct ones of other folds.

        Args:
            pooled: float [n, tiles, width]; the farthest tile counts.
            patches: float16 [n, cells, channels].
            photos: the photos; not all Correct ones in one fold.
        """
        tiles, correct = (patches if self.of_patches else pooled), photos.label == 0
        self.least.zero_()
        others = [correct & (photos.fold != fold) for fold in range(int(photos.fold.max()) + 1)]
        with photo_threads(tiles.device) as pool:
            return HeldOutDistances(self, tiles, photos.fold, list(pool.map(partial(_references, tiles), others)))

    def fit(self, pooled: Tensor, patches: Tensor, correct: Tensor, held_out: Tensor) -> None:
        """Take references from the Correct training photos.

        Args:
            pooled: float [n, tiles, width].
            patches: float16 [n, cells, channels].
            correct: bool [n].
            held_out: distances of Correct photos that were not among the references; the smallest is the least one.
        """
        self.near.load_state_dict(_references(patches if self.of_patches else pooled, correct).state_dict())
        self.least.fill_(held_out.min())

    def scale(self, slope: float, offset: float) -> None:
        """Set slope and offset of the score."""
        self.slope.fill_(slope)
        self.offset.fill_(offset)


class HeldOutDistances(NamedTuple):
    """Distances of training photos to Correct ones of other folds: measured when asked, as each takes milliseconds.

    Attributes:
        head: the head that is fitted.
        tiles: patches or pooled features of all photos, [n, cells, channels].
        fold: int [n], of each photo.
        near: references for the photos of each fold.
    """

    head: DistanceHead
    tiles: Tensor
    fold: Tensor
    near: list[Novelty]

    def measure(self, places: Tensor) -> Tensor:
        """Return the distances of the photos at these places, float32 [len(places)]."""
        with photo_threads(self.tiles.device) as pool:  # a photo at a time: its values fit into the processor's cache
            return torch.tensor(list(pool.map(self._measure, places.tolist())), dtype=torch.float32)

    def _measure(self, place: int) -> float:
        near = self.near[int(self.fold[place])]
        return float(self.head.of_photo(near.of_tiles(self.tiles[place][None].float())))


def _references(tiles: Tensor, among: Tensor) -> Novelty:
    some = evenly(torch.nonzero(among)[:, 0], _MOST_PHOTOS)
    return Novelty.from_features(tiles[some].float(), MOST_REFERENCES, torch.float32)


def evenly(places: Tensor, most: int) -> Tensor:
    """At most `most` of the positions [n], evenly spaced.

    >>> evenly(torch.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    return places[torch.linspace(0, len(places) - 1, min(len(places), most)).long()]


def odds(distances: Tensor) -> tuple[float, float]:
    """Slope and offset that make logits of distances where nothing is known of Incorrect photos.

    The logit is linear in the distance: 0 (probability 0.5) at the distance that 5% of Correct photos exceed, and
    log(1 / 19) (probability 0.05) at their median. It says how unusual a photo is among Correct ones, not how often
    such a photo shows a defect, which nobody knows.

    Args:
        distances: float [n], of Correct photos that were measured without their own group.
    """
    values = distances.double().numpy()
    limit = exceeded_by(values, OVERKILL_RATE)
    limit, median = float(values.max()) if limit is None else limit, float(np.median(values))
    slope = math.log(1 / OVERKILL_RATE - 1) / max(limit - median, 1e-6 * max(limit, 1.0))
    return slope, -slope * limit
