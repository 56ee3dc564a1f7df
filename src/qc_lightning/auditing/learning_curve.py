"""Learning curve: the gain from more parts of the rarer class, by accuracy with an eighth to all of them."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qc_lightning.auditing.out_of_fold import deal
from qc_lightning.data.checks.findings import Check
from qc_lightning.data.checks.shortcuts import balanced_accuracy
from qc_lightning.data.photo import Photo
from qc_lightning.metrics.decision import probabilities
from qc_lightning.models.heads.linear import LinearHead
from qc_lightning.models.heads.solver import Recipe

_FRACTIONS = (0.125, 0.25, 0.5, 1.0)
_FEWEST = 10  # fewest parts of the rarer class in a point of the curve


def check_learning_curve(
    head: LinearHead,
    features: Tensor,
    photos: Sequence[Photo],
    class_names: tuple[str, str],
    penalty: float,
    seed: int = 0,
) -> Check:
    """Balanced accuracy on photos of unseen groups, trained on nested subsets of the rarer class's parts.

    All parts of the other class are used for training, and every point is measured on all photos.

    Args:
        head: the head to fit.
        features: float [n, tiles, width].
        photos: photos with their groups.
        class_names: the user's names for Correct and Incorrect.
        penalty: penalty of the logistic regression.
        seed: seed of the folds.
    """
    label = np.array([photo.label for photo in photos])
    group = np.unique([photo.group for photo in photos], return_inverse=True)[1]
    parts = [len(np.unique(group[label == one])) for one in (0, 1)]
    rare = int(parts[1] <= parts[0])
    points: list[tuple[int, float]] = []
    interval = (0.0, 1.0)
    problem = head.problem(features, torch.from_numpy(group))
    for fraction in _FRACTIONS:
        count = math.ceil(fraction * parts[rare])
        if count < _FEWEST:
            continue
        taught = (label != rare) | _nested(photos, rare, count)
        dealt = deal(photos, seed, taught)
        if dealt is not None:
            probability = probabilities(problem.fit(dealt, Recipe("logistic", penalty)).out_of_fold)
            value, low, high = balanced_accuracy((probability >= 0.5) == (label == 1), label, group)
            points.append((count, value))
            interval = (low, high)
    if not points:
        return Check.not_made("learning_curve", f"each class needs at least {_FEWEST} parts.")
    name = class_names[rare]
    line = ", ".join(f"{value:.3f} with {count}" for count, value in points)
    text = f"balanced accuracy on photos that the model has not seen, by the number of {name} parts: {line}."
    return Check("learning_curve", False, f"{text} {_outlook(points, name)}", points[-1][1], *interval)


def _outlook(points: Sequence[tuple[int, float]], name: str) -> str:
    """The gain from doubling the parts, by a power law fitted to the errors (Hestness et al. 2017)."""
    if len(points) < 3:
        return "Too few parts to say what more would bring."
    count, error = (
        np.log([max(at, 1e-3) for at in column]) for column in ([n for n, _ in points], [1 - v for _, v in points])
    )
    slope = float(np.polyfit(count, error, 1)[0])
    gain = math.exp(error[-1]) * (1 - 2 ** min(slope, 0.0))
    return f"Twice the {name} parts would bring about {gain:+.3f}."


def _nested(photos: Sequence[Photo], rare: int, count: int) -> npt.NDArray[np.bool_]:
    """Whether a photo is in one of `count` groups of the rarer class, chosen by a hash of the group, bool [n]."""
    groups = {photo.group for photo in photos if photo.label == rare}
    order = sorted(groups, key=lambda group: hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest())
    kept = set(order[:count])
    return np.array([photo.label == rare and photo.group in kept for photo in photos])
