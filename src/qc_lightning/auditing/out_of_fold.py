"""Out-of-fold predictions: exact linear heads on a pretrained network's features."""

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
from qc_lightning.training.feature_cache import FeatureCache
from qc_lightning.training.features import affordable, extract_features

_FOLDS = 5

Floats = npt.NDArray[np.float64]


def photo_features(
    photos: PhotoSet, data: DataConfig, model: ModelConfig, device: torch.device
) -> tuple[FittedHead, Tensor]:
    """A head and its features from a pretrained network, [n, tiles, width]; large ones are mapped from a file."""
    n = len(photos.photos)
    model = affordable(model, round((1 - data.split.test) * n))  # the same rule as in training
    network = cast(Network, build_network(model, photos.decode.tile, tiles=data.grid)).eval().to(device)
    cache = FeatureCache(Path(data.cache_dir).expanduser() / "features") if data.cache == "disk" else None
    features = extract_features(network, photos, np.arange(n), device, cache)
    return cast(FittedHead, network.head.cpu()), features


def deal(photos: Sequence[Photo], seed: int, taught: npt.NDArray[np.bool_] | None = None) -> Folds | None:
    """Assign photos to folds by group; None if that is impossible.

    Args:
        photos: photos with their groups.
        seed: seed of the assignment.
        taught: bool [n], the photos to train heads on; None for all.
    """
    fold = torch.tensor(folds(photos, _FOLDS, f"audit/{seed}"))
    if not fold.any():
        return None
    label = torch.tensor([photo.label for photo in photos])
    group = torch.from_numpy(np.unique([photo.group for photo in photos], return_inverse=True)[1])
    return Folds(label, fold, group, balance=True, taught=None if taught is None else torch.from_numpy(taught))
