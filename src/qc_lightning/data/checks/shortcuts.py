"""Find properties other than defects that separate the classes: background, light, size, file kind, quality, date.

A network learns anything that separates the classes, the easiest first. Each property alone is given to a logistic
regression; where that recognises the class of photos that it has not seen, so can the network, without any defect.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from qc_lightning.data.checks.appearance import Appearance
from qc_lightning.data.checks.file_facts import FileFacts
from qc_lightning.data.checks.findings import Check
from qc_lightning.data.photo import Photo
from qc_lightning.data.split import folds
from qc_lightning.metrics.intervals import proportion

FLAGGED_FROM = 0.90  # balanced accuracy; datasets without a known shortcut reached 0.49 to 0.81
_FOLDS = 5
_KINDS = 8  # of the most frequent values of a discrete property
_PENALTY = 1.0  # of the squared norm of the weights, for standardised features
_STEPS = 15  # of Newton's method

Floats = npt.NDArray[np.float64]

_WORDS = {
    "border_colour": "the border's colour",
    "mean_colour": "the mean colour",
    "size": "the size of the photo",
    "file_kind": "the kind of file",
    "jpeg_quality": "the JPEG quality",
    "file_date": "the file's date",
    "camera": "the camera",
}
_REMEDY = {
    "border_colour": "photograph both classes before the same background",
    "mean_colour": "photograph both classes in the same light, unless the defect is a matter of colour",
    "size": "photograph both classes with the same camera settings",
    "file_kind": "save both classes the same way",
    "jpeg_quality": "save both classes the same way",
    "file_date": "photograph both classes on the same days; if the files were only copied class by class, ignore this",
    "camera": "photograph both classes with the same camera",
}


def check_shortcuts(
    photos: Sequence[Photo], appearance: Appearance, facts: Sequence[FileFacts], class_names: tuple[str, str]
) -> list[Check]:
    """Test whether a single property separates the classes: seven checks, each with balanced accuracy and interval.

    The accuracy is that of grouped cross-validation, on photos whose group the regression has not seen.

    Args:
        photos: with their groups.
        appearance: of the same photos.
        facts: of the same photos.
        class_names: of Correct and Incorrect.
    """
    label = np.array([photo.label for photo in photos], dtype=np.int64)
    group = np.unique([photo.group for photo in photos], return_inverse=True)[1]
    fold = np.array(folds(photos, _FOLDS, "shortcuts"))
    taken = np.array([fact.taken for fact in facts])
    dates = taken if np.isfinite(taken).all() else np.array([fact.modified for fact in facts])
    hours = np.floor((dates - np.nanmin(dates)) / 3600) if np.isfinite(dates).any() else dates
    days = [f"{hour // 24}" for hour in hours]
    sizes = [(fact.width, fact.height) for fact in facts]
    cameras = [photo.camera or fact.camera for photo, fact in zip(photos, facts, strict=True)]
    properties = {
        "border_colour": appearance.border.astype(np.float64),
        "mean_colour": appearance.colour.astype(np.float64),
        "size": np.column_stack([np.log(np.maximum(np.array(sizes, dtype=np.float64), 1)), _one_hot(sizes)]),
        "file_kind": _one_hot([f"{fact.kind} {fact.mode}" for fact in facts]),
        "jpeg_quality": np.array([[fact.quality] for fact in facts]),
        "file_date": np.column_stack([hours, _one_hot(days)]),
        "camera": _one_hot(cameras) if any(cameras) else np.full((len(photos), 1), np.nan),
    }
    return [_check(name, x, label, fold, group, class_names) for name, x in properties.items()]


def _check(
    name: str,
    x: Floats,
    label: npt.NDArray[np.int64],
    fold: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    class_names: tuple[str, str],
) -> Check:
    used = np.isfinite(x).all(1)
    x, label, fold, group = x[used], label[used], fold[used], group[used]
    if not len(x):
        return Check.not_made(name, f"no file says {_WORDS[name]}.")
    if (x == x[0]).all():
        return Check(name, False, f"{_WORDS[name]} does not vary.")
    if any(len(np.unique(label[fold != number])) < 2 for number in range(_FOLDS)) or not fold.any():
        return Check.not_made(name, f"{_WORDS[name]}: too few parts of one class.")
    incorrect = np.zeros(len(x), dtype=bool)
    for number in np.unique(fold):
        rest = fold != number
        incorrect[~rest] = _predict(x[rest], label[rest], x[~rest])
    value, low, high = balanced_accuracy(incorrect == (label == 1), label, group)
    text = (
        f"{_WORDS[name]} alone tells {class_names[1]} from {class_names[0]} with balanced accuracy "
        f"{value:.3f} ({low:.3f} to {high:.3f})"
    )
    flagged = value >= FLAGGED_FROM and low > 0.5
    text += f": a network may learn that instead of the defect; {_REMEDY[name]}." if flagged else "."
    return Check(name, flagged, text, value, low, high)


def balanced_accuracy(
    right: npt.NDArray[np.bool_], label: npt.NDArray[np.int64], group: npt.NDArray[np.int64]
) -> tuple[float, float, float]:
    """Mean of the two classes' recalls, and its 95% interval from theirs by MOVER (Zou & Donner 2008).

    Args:
        right: bool [n], whether the photo's class was recognised.
        label: int [n], both classes.
        group: int [n], 0 <= group.
    """
    recall = [float(right[label == one].mean()) for one in (0, 1)]
    ends = [proportion(right[label == one], group[label == one]) for one in (0, 1)]
    below = math.hypot(*(at - low for at, (low, _) in zip(recall, ends, strict=True))) / 2
    above = math.hypot(*(high - at for at, (_, high) in zip(recall, ends, strict=True))) / 2
    value = sum(recall) / 2
    return value, max(0.0, value - below), min(1.0, value + above)


def _one_hot(values: Sequence[Hashable]) -> Floats:
    """One-hot columns for the most frequent values."""
    frequent = [value for value, _ in Counter(values).most_common(_KINDS)]
    return np.array([[float(value == one) for one in frequent] for value in values])


def _predict(x: Floats, label: npt.NDArray[np.int64], other: Floats) -> npt.NDArray[np.bool_]:
    """Fit a logistic regression with balanced classes by Newton's method; which of the `other` photos are Incorrect."""
    mean, spread = x.mean(0), x.std(0)
    spread[spread < 1e-9] = np.inf  # a constant says nothing
    x = np.column_stack([(x - mean) / spread, np.ones(len(x))])
    positive = label == 1
    weight = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum()) * len(label)
    penalty = np.full(x.shape[1], _PENALTY)
    penalty[-1] = 1e-9  # the intercept is free
    w = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (weight * (p - positive)) + penalty * w
        curvature = (x.T * (weight * p * (1 - p) + 1e-9)) @ x + np.diag(penalty)
        w -= np.linalg.solve(curvature, gradient)
    incorrect: npt.NDArray[np.bool_] = np.column_stack([(other - mean) / spread, np.ones(len(other))]) @ w > 0
    return incorrect
