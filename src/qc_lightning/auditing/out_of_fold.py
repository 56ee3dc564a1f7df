"""What a model says of photos that it has not seen: a pretrained network's features, exact linear heads on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qc_lightning.config import DataConfig, ModelConfig
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.photo import Photo
from qc_lightning.data.split import folds
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.linear import Folds
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from qc_lightning.training.features import affordable, extract_features

_FOLDS = 5
_MOST_NUMBERS = 300_000_000  # of features that are kept as they are: 1.2 GB
_NARROW, _AT_ONCE = 1024, 2048  # dimensions and photos

Floats = npt.NDArray[np.float64]


def photo_features(
    photos: PhotoSet, data: DataConfig, model: ModelConfig, device: torch.device
) -> tuple[FittedHead, Tensor]:
    """A head and the features for it, those of a pretrained network, [n, tiles, width].

    Of many photos the features are projected to fewer dimensions at random, some photos at a time: distances between
    photos stay nearly what they were (Johnson and Lindenstrauss 1984), and memory is bounded.
    """
    n = len(photos.photos)
    model = affordable(model, round((1 - data.split.test) * n))  # as a training on them decides
    network = cast(Network, build_network(model, photos.decode.tile, tiles=data.grid)).eval().to(device)
    cache = Path(data.cache_dir).expanduser() / "features" if data.cache == "disk" else None
    head, tiles = cast(FittedHead, network.head.cpu()), network.tiles[0] * network.tiles[1]
    if n * tiles * network.width <= _MOST_NUMBERS:
        return head, extract_features(network, photos, np.arange(n), device, cache)
    sample = np.unique(np.linspace(0, n - 1, min(n, _AT_ONCE)).astype(np.int64))
    head.pooled.adapt(head.split(extract_features(network, photos, sample, device, cache))[0].flatten(0, 1))
    projection = torch.randn(head.width, _NARROW, generator=torch.Generator().manual_seed(0))
    narrow = torch.empty(n, tiles, _NARROW)
    for start in range(0, n, _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, n))
        part = extract_features(network, photos, rows, device, cache, of=(start, n))
        narrow[start : start + len(rows)] = head.pooled.normalise(head.split(part)[0]) @ projection
    return FittedHead(_NARROW), narrow


def deal(photos: Sequence[Photo], seed: int, taught: npt.NDArray[np.bool_] | None = None) -> Folds | None:
    """Folds, whole groups at a time; None when these photos cannot be dealt into folds.

    Args:
        photos: with their groups.
        seed: of the deal.
        taught: bool [n], the photos that heads may learn from; None for all.
    """
    fold = torch.tensor(folds(photos, _FOLDS, f"audit/{seed}"))
    if not fold.any():
        return None
    label = torch.tensor([photo.label for photo in photos])
    group = torch.from_numpy(np.unique([photo.group for photo in photos], return_inverse=True)[1])
    return Folds(label, fold, group, balance=True, taught=None if taught is None else torch.from_numpy(taught))
