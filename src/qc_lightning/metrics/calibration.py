"""Scores to probabilities, and how far these can be taken at their word."""

from collections.abc import Mapping
from typing import overload

import numpy as np
import numpy.typing as npt


def uncalibrated(logit: npt.NDArray[np.floating], platt: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """The score that Platt scaling made a logit of, at mean 0 and standard deviation 1 where it was fitted."""
    return (logit.astype(np.float64) - platt["offset"]) / platt["slope"]


def calibration(logit: npt.NDArray[np.floating], label: npt.ArrayLike) -> dict[str, float | None]:
    """Brier score and log loss of probabilities, both classes weighing alike whatever their numbers.

    Weighed so, since a logit of 0 stands for even odds; 0.25 and 0.693 are those of always saying 0.5.

    Args:
        logit: float [n], finite.
        label: int [n], 1 = Incorrect.

    Returns:
        "brier" and "log_loss"; None where a class is missing.
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
    """What P(Incorrect) at even odds is where only a share of the parts is bad (Bayes' rule).

    >>> round(shifted(0.9, 0.01), 3)
    0.083
    """
    return probability * share / (probability * share + (1 - probability) * (1 - share))


def auroc(score: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Area under the ROC curve: the share of pairs of an Incorrect and a Correct photo that the score ranks right.

    >>> auroc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])
    0.875
    """
    _, place, counts = np.unique(np.asarray(score), return_inverse=True, return_counts=True)
    positive = np.asarray(label) == 1
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # ties share their mean rank
    bad, good = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - bad * (bad + 1) / 2) / (bad * good))


def platt(score: npt.ArrayLike, label: npt.ArrayLike, steps: int = 100) -> tuple[float, float]:
    """Slope and offset that turn scores into logits: Platt scaling with both classes weighing alike.

    Its targets are softened as Platt's (1999) are, so that scores without overlap get a finite slope; Newton's method.

    Args:
        score: float [n], of photos that the model has not seen.
        label: int [n], 1 for Incorrect; both classes.
        steps: at most.

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
    for _ in range(steps):
        probability = 1 / (1 + np.exp(-design @ value))
        slope = design.T @ (weight * (probability - target))
        curvature = (design.T * (weight * probability * (1 - probability))) @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        value -= step / max(1.0, float(np.abs(step).max()))  # at most 1 at a time: far off, Newton's steps are too long
        if np.abs(step).max() < 1e-10:
            break
    a = max(float(value[0]), 1e-3) / spread  # scores that rank the wrong way round must not be turned over
    return a, float(value[1]) - a * float(centre)


def balanced_loss(score: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Cross-entropy of scores after `platt`, both classes weighing alike; 0.693 where the scores say nothing.

    >>> round(balanced_loss([1, 1, 1, 1], [0, 0, 1, 1]), 3)
    0.693
    """
    slope, offset = platt(score, label)
    logit, positive = slope * np.asarray(score, np.float64) + offset, np.asarray(label) == 1
    return float(np.logaddexp(0, -logit[positive]).mean() + np.logaddexp(0, logit[~positive]).mean()) / 2
