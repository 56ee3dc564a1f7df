"""Calibration of scores to probabilities, and its quality."""

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
import numpy.typing as npt

_STEPS = 100  # Newton steps of Platt scaling, at most


def uncalibrated(logit: npt.NDArray[np.floating], platt: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Undo Platt scaling: the score behind a logit, with mean 0 and standard deviation 1 on the photos of the fit."""
    return (logit.astype(np.float64) - platt["offset"]) / platt["slope"]


def calibration(logit: npt.NDArray[np.floating], label: npt.ArrayLike) -> dict[str, float | None]:
    """Brier score and log loss of probabilities, with equal class weights.

    The weights are equal because a logit of 0 means even odds; always predicting 0.5 gives 0.25 and 0.693.

    Args:
        logit: float [n], finite.
        label: int [n], 1 = Incorrect.

    Returns:
        "brier" and "log_loss"; None if a class is missing.
    """
    z, positive = logit.astype(np.float64), np.asarray(label) == 1
    if positive.all() or not positive.any():
        return {"brier": None, "log_loss": None}
    squared = (1 / (1 + np.exp(-z)) - positive) ** 2
    loss = np.logaddexp(0.0, z) - positive * z
    return {
        name: float(value[positive].mean() + value[~positive].mean()) / 2
        for name, value in (("brier", squared), ("log_loss", loss))
    }


@overload
def shifted(probability: float, share: float) -> float: ...
@overload
def shifted(probability: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]: ...
def shifted(probability: float | npt.NDArray[np.float64], share: float) -> float | npt.NDArray[np.float64]:
    """Convert P(Incorrect) at even odds to another fraction of bad parts (Bayes' rule).

    >>> round(shifted(0.9, 0.01), 3)
    0.083
    """
    return probability * share / (probability * share + (1 - probability) * (1 - share))


def auroc(score: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Area under the ROC curve: the fraction of (Incorrect, Correct) pairs that the score ranks correctly.

    >>> auroc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])
    0.875
    """
    values, positive = np.asarray(score), np.asarray(label) == 1
    good, bad = np.sort(values[~positive]), values[positive]
    # ties count half
    return float((np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")).mean() / 2 / len(good))


def auroc_gain(candidate: npt.ArrayLike, baseline: npt.ArrayLike, label: npt.ArrayLike) -> tuple[float, float]:
    """Difference in AUROC of two scores of the same photos, candidate - baseline, and its standard error.

    DeLong et al. 1988 (Biometrics 44, 837-845), for photos that are independent of each other.

    Args:
        candidate: float [n].
        baseline: float [n].
        label: int [n], 1 for Incorrect; at least two of each class.
    """
    positive = np.asarray(label) == 1
    of_bad, of_good = (
        new - old
        for new, old in zip(*(_placements(np.asarray(s), positive) for s in (candidate, baseline)), strict=True)
    )
    error = np.sqrt(of_bad.var(ddof=1) / len(of_bad) + of_good.var(ddof=1) / len(of_good))
    return float(of_bad.mean()), float(error)


def _placements(
    score: npt.NDArray[Any], positive: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For each Incorrect photo the fraction of Correct ones below it; for each Correct one, of Incorrect ones above."""
    good, bad = np.sort(score[~positive]), np.sort(score[positive])

    def below(values: npt.NDArray[Any], among: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        twice = np.searchsorted(among, values, "left") + np.searchsorted(among, values, "right")
        share: npt.NDArray[np.float64] = twice / 2 / len(among)
        return share

    return below(score[positive], good), 1 - below(score[~positive], bad)


def platt(score: npt.ArrayLike, label: npt.ArrayLike) -> tuple[float, float]:
    """Platt scaling with equal class weights: slope and offset that turn scores into logits.

    Targets are softened as in Platt (1999), so that separable scores get a finite slope. Solved by Newton's method.

    Args:
        score: float [n], of photos that the model has not seen.
        label: int [n], 1 for Incorrect; both classes.

    Returns:
        slope, 0 or more, and offset: the logit is slope * score + offset, 0 where both classes are equally likely.
    """
    x, positive = np.asarray(score, np.float64), np.asarray(label) == 1
    bad, good = int(positive.sum()), int((~positive).sum())
    centre, spread = x.mean(), max(float(x.std()), 1e-12)
    design = np.stack([(x - centre) / spread, np.ones_like(x)], axis=1)
    target = np.where(positive, (bad + 1) / (bad + 2), 1 / (good + 2))
    weight = np.where(positive, 0.5 / bad, 0.5 / good)
    value = np.zeros(2)
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-design @ value))
        slope = design.T @ (weight * (probability - target))
        curvature = (design.T * (weight * probability * (1 - probability))) @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        value -= step / max(1.0, float(np.abs(step).max()))  # at most 1 at a time: far off, Newton's steps are too long
        if np.abs(step).max() < 1e-10:
            break
    a = max(float(value[0]), 1e-3) / spread  # scores that rank in the wrong direction must not be inverted
    return a, float(value[1]) - a * float(centre)


def balanced_loss(score: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Cross-entropy of scores after `platt`, with equal class weights; 0.693 for uninformative scores.

    >>> round(balanced_loss([1, 1, 1, 1], [0, 0, 1, 1]), 3)
    0.693
    """
    slope, offset = platt(score, label)
    logit, positive = slope * np.asarray(score, np.float64) + offset, np.asarray(label) == 1
    return float(np.logaddexp(0, -logit[positive]).mean() + np.logaddexp(0, logit[~positive]).mean()) / 2
