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
from qc_lightning.models.heads.linear import Folds, LinearHead
from qc_lightning.models.heads.solver import Recipe
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from qc_lightning.training.features import extract_features

_FOLDS = 5

Floats = npt.NDArray[np.float64]


def photo_features(
    photos: PhotoSet, data: DataConfig, model: ModelConfig, device: torch.device
) -> tuple[LinearHead, Tensor]:
    """The linear head of a pretrained network and its pooled features, float32 [n, tiles, width]."""
    network = cast(Network, build_network(model, photos.decode.tile, tiles=data.grid)).eval().to(device)
    cache = Path(data.cache_dir).expanduser() / "features" if data.cache == "disk" else None
    everything = np.arange(len(photos.photos))
    features = extract_features(network, photos, everything, device, cache)
    head = cast(FittedHead, network.head.cpu())
    return head.pooled, head.split(features)[0]


def out_of_fold(
    head: LinearHead,
    features: Tensor,
    photos: Sequence[Photo],
    penalty: float,
    seed: int = 0,
    taught: npt.NDArray[np.bool_] | None = None,
) -> Floats | None:
    """P(Incorrect) of each photo from a head that has seen no photo of its group, float64 [n].

    Args:
        head: is fitted.
        features: float [n, tiles, width].
        photos: with their groups.
        penalty: of the logistic loss.
        seed: deals the folds.
        taught: bool [n], the photos that heads may learn from; None for all.

    Returns:
        The probabilities; None when the photos cannot be dealt into folds.
    """
    fold = np.array(folds(photos, _FOLDS, f"audit/{seed}"), dtype=np.int64)
    if not fold.any():
        return None
    label = torch.tensor([photo.label for photo in photos])
    group = torch.from_numpy(np.unique([photo.group for photo in photos], return_inverse=True)[1])
    kept = None if taught is None else torch.from_numpy(taught)
    training = Folds(label, torch.from_numpy(fold), group, balance=True, taught=kept)
    logit = head.fit(features, training, [Recipe("logistic", penalty)])
    probability: Floats = torch.sigmoid(logit.double()).numpy()
    return probability
