"""How sure a figure is: 95% intervals from the photos that were tested, honest about several photos of one part."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Work grows with resamples x photos: above this many cells fewer resamples are drawn; blocks in cache are faster.
_CELLS = 10_000_000
_BLOCK = 300_000
_FEWEST = 200


def wilson(successes: float, n: float, confidence: float = 0.95, design_effect: float = 1.0) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927).

    Args:
        successes: how many of `n` had the property, 0 <= successes <= n.
        n: how many were looked at. With 0 nothing is known and the answer is (0, 1).
        confidence: share of such intervals that hold the true proportion, in (0, 1).
        design_effect: variance of the proportion relative to independent photos (see `design_effect`); the interval is
            that of n / design_effect independent ones.

    Returns:
        (low, high), 0 <= low <= successes / n <= high <= 1.
    """
    if n <= 0:
        return 0.0, 1.0
    p = successes / n
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2 * design_effect / n
    centre = (p + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * p * (1 - p) + z2 * z2 / 4) / (1 + z2)
    # at p = 0 and p = 1 one end is exactly p; rounding must not move it past
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def design_effect(success: BoolArray, group: IntArray) -> float:
    """How much wider photos that come in groups make a proportion's variance (Rao & Scott 1992, Biometrics 48).

    The ratio of the ratio-estimator variance over groups, m / ((m - 1) n^2) * sum (x_i - n_i p)^2, to the binomial
    p (1 - p) / n, for m groups with x_i successes in n_i photos. At least 1.

    When every photo gives the same answer, or there is one group only, the ratio is 0 / 0 and the photos say nothing
    on how alike a group is; then photos of one group are taken as copies of each other: sum n_i^2 / n.

    Args:
        success: bool [n].
        group: int [n], the group of each photo, 0 <= group.
    """
    n = len(success)
    if n == 0:
        return 1.0
    size = np.bincount(group).astype(np.float64)
    hits = np.bincount(group, weights=success)[size > 0]
    size = size[size > 0]
    m, p = len(size), float(hits.sum()) / n
    if m == n:
        return 1.0
    if m == 1 or p in (0.0, 1.0):
        return float((size**2).sum()) / n
    spread = float(((hits - size * p) ** 2).sum())
    return max(1.0, m / ((m - 1) * n) * spread / (p * (1 - p)))


def proportion(success: BoolArray, group: IntArray | None, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of the share of `success`, with the design effect of the groups.

    A few escapes bound the rate no tighter than none would: one photo out of a group says little on how alike the group
    is, so the interval reaches at least as far as the one for no success, and for success throughout.

    Args:
        success: bool [n].
        group: int [n], 0 <= group, or None when each photo stands for itself.
        confidence: in (0, 1).
    """
    hits, n = int(success.sum()), len(success)
    if group is None:
        return wilson(hits, n, confidence)
    low, high = wilson(hits, n, confidence, design_effect(success, group))
    alike = design_effect(np.zeros(n, dtype=bool), group)
    return min(low, wilson(n, n, confidence, alike)[0]), max(high, wilson(0, n, confidence, alike)[1])


def bootstrap(
    probability: FloatArray,
    loss: FloatArray,
    label: IntArray,
    rejected: BoolArray,
    group: IntArray | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals (Efron 1979) of the figures that are no plain proportion.

    Each resample draws as many groups as there are, with replacement, so that photos of one part come and go together.
    Resamples in which a figure is undefined (no Incorrect drawn, say) are left out of that figure.

    A flawless or hopeless result (a figure of exactly 1 or 0, or a verdict that never changes) looks the same in every
    resample, so its bootstrap interval has no width and claims certainty. There Wilson's interval takes its place, for
    as many trials as the rarer class has groups.

    Args:
        probability: float [n], P(Incorrect), finite.
        loss: float [n], the loss of each photo.
        label: int [n], 1 = Incorrect.
        rejected: bool [n], the verdict at the threshold.
        group: int [n], 0 <= group < number of groups, or None when each photo stands for itself.
        resamples: draws; fewer are used above 10,000 photos to keep within about 2 s.
        confidence: of the interval, in (0, 1).
        seed: of the draws; the same seed gives the same intervals.

    Returns:
        (low, high) for "loss", "balanced_accuracy", "f1", "auroc", "average_precision"; (nan, nan) where undefined.
    """
    n = len(label)
    order = np.argsort(-probability, kind="stable")
    probability, loss, label, rejected = probability[order], loss[order], label[order], rejected[order]
    unit = np.arange(n) if group is None else group[order]
    units = n if group is None else int(unit.max(initial=-1)) + 1
    positive = label == 1
    # the first photo of each run of equal probabilities: ties enter the ranking together
    starts = np.flatnonzero(np.concatenate(([True], probability[1:] != probability[:-1]))) if n else np.zeros(0, int)

    resamples = max(_FEWEST, min(resamples, _CELLS // max(n, 1)))
    block = max(1, _BLOCK // max(n, 1))
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, resamples if n else 0, block):
        rows = min(block, resamples - first)
        drawn = rng.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        weight = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)
        if group is not None:
            weight = weight[:, unit]
        parts.append(_weighted(weight, loss, positive, rejected, starts))
    names = ("loss", "balanced_accuracy", "f1", "auroc", "average_precision")
    draws = np.concatenate(parts, axis=1) if parts else np.full((len(names), 1), np.nan)

    rarer = min(len(np.unique(unit[positive])), len(np.unique(unit[~positive])))
    tail = (1 - confidence) / 2
    intervals = {}
    for name, values in zip(names, draws, strict=True):
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, (tail, 1 - tail)) if len(values) else (np.nan, np.nan)
        if name != "loss" and high - low < 1e-12:
            low, high = wilson(rarer * low, rarer, confidence)
        intervals[name] = (float(low), float(high))
    return intervals


def _weighted(
    weight: FloatArray, loss: FloatArray, positive: BoolArray, rejected: BoolArray, starts: IntArray
) -> FloatArray:
    """The five figures [5, rows] for rows of weights [rows, n]; photos sorted from the highest probability down."""
    columns = np.stack([np.ones(len(loss)), loss, positive, rejected, positive & rejected], axis=1)
    total, loss_sum, p, flagged, tp = (weight @ columns).T
    w_positive = weight * positive
    tied = len(starts) < weight.shape[1]
    tp_at = np.add.reduceat(w_positive, starts, axis=1) if tied else w_positive
    all_at = np.add.reduceat(weight, starts, axis=1) if tied else weight
    tp_to, all_to = np.cumsum(tp_at, axis=1), np.cumsum(all_at, axis=1)
    negatives = total - p
    with np.errstate(divide="ignore", invalid="ignore"):
        # Mann-Whitney U: each Correct photo is outranked by the Incorrect above it and half of those it ties with
        wins = ((tp_to - tp_at / 2) * (all_at - tp_at)).sum(axis=1)
        steps = np.divide(tp_at * tp_to, all_to, out=np.zeros_like(tp_to), where=all_to > 0)
        return np.stack(
            [
                loss_sum / total,
                (tp / p + 1 - (flagged - tp) / negatives) / 2,
                2 * tp / (p + flagged),
                wins / (p * negatives),
                steps.sum(axis=1) / p,
            ]
        )
