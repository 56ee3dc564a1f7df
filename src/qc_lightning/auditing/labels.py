"""Photos whose label does not fit what they show, and how much more photos would bring: both from a model's answers.

The model is a pretrained network with the exact linear head, and every answer comes from a head that has seen neither
the photo nor its group.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qc_lightning.config import DataConfig, ModelConfig
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.findings import Check, Finding
from qc_lightning.data.photo import Photo
from qc_lightning.data.shortcuts import balanced_accuracy
from qc_lightning.data.split import folds
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.linear import Folds, LinearHead
from qc_lightning.models.heads.solver import Recipe
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from qc_lightning.training.features import extract_features

_FOLDS = 5
_SURE = 0.9  # probability of the other class from which a person should look
_FRACTIONS = (0.125, 0.25, 0.5, 1.0)
_FEWEST = 10  # parts of a class in a point of the learning curve

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


def out_of_fold(head: LinearHead, features: Tensor, photos: Sequence[Photo], penalty: float) -> Floats | None:
    """P(Incorrect) of each photo from a head that has not seen its group, float64 [n]; None where that cannot be."""
    fold = np.array(folds(photos, _FOLDS, "audit"), dtype=np.int64)
    if not fold.any():
        return None
    label = torch.tensor([photo.label for photo in photos])
    group = torch.from_numpy(np.unique([photo.group for photo in photos], return_inverse=True)[1])
    training = Folds(label, torch.from_numpy(fold), group, balance=True)
    logit = head.fit(features, training, [Recipe("logistic", penalty)])
    probability: Floats = torch.sigmoid(logit.double()).numpy()
    return probability


def check_labels(photos: Sequence[Photo], probability: Floats) -> Check:
    """Photos that look like the other class, the surest first; a finding's value is the other class's probability."""
    label = np.array([photo.label for photo in photos])
    other = np.where(label == 1, 1 - probability, probability)
    order = [int(index) for index in np.argsort(-other, kind="stable") if other[index] >= 0.5]
    findings = [Finding(photos[index].name, "", round(float(other[index]), 4)) for index in order]
    sure = sum(finding.value >= _SURE for finding in findings if finding.value is not None)
    text = (
        f"{len(findings)} photos look more like the other class to a model that has not seen them, {sure} of them with "
        f"a probability of at least {_SURE:g}: check these labels, the first ones first."
        if findings
        else "no photo looks more like the other class."
    )
    return Check("label_errors", sure > 0, text, findings=findings)


def check_learning_curve(head: LinearHead, features: Tensor, photos: Sequence[Photo], penalty: float) -> Check:
    """Balanced accuracy with an eighth, a quarter, half and all of the parts, each subset in the next larger one."""
    points: list[tuple[int, float]] = []
    interval = (0.0, 1.0)
    for fraction in _FRACTIONS:
        rows = _nested(photos, fraction)
        chosen = [photos[row] for row in rows]
        fewest = min(len({photo.group for photo in chosen if photo.label == label}) for label in (0, 1))
        probability = out_of_fold(head, features[rows], chosen, penalty) if fewest >= _FEWEST else None
        if probability is not None:
            label = np.array([photo.label for photo in chosen])
            group = np.unique([photo.group for photo in chosen], return_inverse=True)[1]
            value, *interval_of = balanced_accuracy((probability >= 0.5) == (label == 1), label, group)
            points.append((len({photo.group for photo in chosen}), value))
            interval = (interval_of[0], interval_of[1])
    if not points:
        return Check("learning_curve", False, "too few parts for a learning curve.")
    line = ", ".join(f"{value:.3f} with {count} parts" for count, value in points)
    text = f"balanced accuracy of a model on photos that it has not seen: {line}. {_outlook(points)}"
    return Check("learning_curve", False, text, points[-1][1], *interval)


def _outlook(points: Sequence[tuple[int, float]]) -> str:
    """What twice the parts would bring, by a power law through the errors (Hestness et al. 2017)."""
    if len(points) < 3:
        return "Too few parts to say what more would bring."
    count, error = (
        np.log([max(at, 1e-3) for at in column]) for column in ([n for n, _ in points], [1 - v for _, v in points])
    )
    slope = float(np.polyfit(np.log(count), error, 1)[0])
    gain = math.exp(error[-1]) * (1 - 2 ** min(slope, 0.0))
    return f"Twice the parts would bring about {gain:+.3f}."


def _nested(photos: Sequence[Photo], fraction: float) -> list[int]:
    """Photos of this fraction of the groups of each class, chosen by a hash of the group."""
    order: dict[str, tuple[int, bytes]] = {}
    for photo in photos:
        worst = max(photo.label, order.get(photo.group, (0, b""))[0])
        order[photo.group] = (worst, hashlib.sha256(photo.group.encode("utf-8", "surrogateescape")).digest())
    kept: set[str] = set()
    for label in (0, 1):
        groups = sorted((digest, group) for group, (of, digest) in order.items() if of == label)
        kept |= {group for _, group in groups[: math.ceil(fraction * len(groups))]}
    return [row for row, photo in enumerate(photos) if photo.group in kept]
