"""95% intervals of metrics that account for several photos of one part.

Every interval of a metric in [0, 1] is Wilson's, for the number of independent photos that would make it as uncertain
as these photos do. docs/statistics.md has the simulated coverage of each.
"""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Interval = tuple[float, float]

# weight, in groups, of a model of F1's variance, chosen in simulations: benchmarks/coverage.py
_F1_PRIOR = 1


def wilson(successes: float, n: float, confidence: float = 0.95, design_effect: float = 1.0) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927).

    Args:
        successes: how many of `n` had the property, 0 <= successes <= n.
        n: how many were observed; 0 gives (0, 1).
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


def design_effect(value: FloatArray | BoolArray, group: IntArray) -> float:
    """Factor by which groups of photos increase the variance of a mean (Rao & Scott 1992, Biometrics 48).

    The ratio of the ratio-estimator variance over groups, m / ((m - 1) n^2) * sum (x_i - n_i mean)^2, to that of n
    single photos, for m groups of n_i photos with the sum x_i. At least 1.

    When every photo gives the same value, or there is one group only, the ratio is 0 / 0 and the photos say nothing
    on how alike a group is; then photos of one group are taken as copies of each other: sum n_i^2 / n.

    Args:
        value: [n]; of a proportion bool.
        group: int [n], the group of each photo, 0 <= group.
    """
    n = len(value)
    if n == 0:
        return 1.0
    size = np.bincount(group).astype(np.float64)
    total = np.bincount(group, weights=value)[size > 0]
    size = size[size > 0]
    m, mean = len(size), float(total.sum()) / n
    if m == n:
        return 1.0
    variance = float(((value - mean) ** 2).sum())
    if m == 1 or variance <= 1e-12 * n:
        return float((size**2).sum()) / n
    return max(1.0, m / (m - 1) * float(((total - size * mean) ** 2).sum()) / variance)


def proportion(success: BoolArray, group: IntArray | None, confidence: float = 0.95) -> Interval:
    """Wilson interval of the share of `success`, with the design effect of the groups.

    A few escapes bound the rate no tighter than none would: one photo of a group says little about how alike the group
    is, so the interval reaches at least as far as the one for no success, and for success throughout.

    Args:
        success: bool [n].
        group: int [n], 0 <= group, or None if photos are independent.
        confidence: in (0, 1).
    """
    hits, n = int(success.sum()), len(success)
    if group is None:
        return wilson(hits, n, confidence)
    low, high = wilson(hits, n, confidence, design_effect(success, group))
    alike = design_effect(np.zeros(n, dtype=bool), group)
    return min(low, wilson(n, n, confidence, alike)[0]), max(high, wilson(0, n, confidence, alike)[1])


def mean_of(first: float, second: float, first_interval: Interval, second_interval: Interval) -> Interval:
    """Interval of the mean of two independent metrics from their intervals, such as balanced accuracy.

    The method of variance estimates recovery (Zou & Donner 2008, Statistics in Medicine 27).
    """
    low = math.hypot(first - first_interval[0], second - second_interval[0])
    high = math.hypot(first_interval[1] - first, second_interval[1] - second)
    mean = (first + second) / 2
    return max(0.0, mean - low / 2), min(1.0, mean + high / 2)


def f1_interval(flagged: BoolArray, bad: BoolArray, group: IntArray | None, confidence: float = 0.95) -> Interval:
    """Interval of F1, which rises with the share of caught parts among those that are Incorrect or rejected.

    Args:
        flagged: bool [n], rejected.
        bad: bool [n], Incorrect; at least one is.
        group: int [n], or None.
        confidence: in (0, 1).
    """
    unit = np.arange(len(bad)) if group is None else group
    either, m = flagged | bad, int(bad.sum())
    count = int(either.sum())
    caught = int((flagged & bad).sum()) / count
    hit = flagged.astype(np.float64)
    of_bad, of_good = hit[bad] * (m / count), hit[~bad] * (-caught * (len(bad) - m) / count)
    alone = count / design_effect(flagged[either] == bad[either], unit[either])
    parts = len(np.unique(unit[bad]))
    low, high = _steady(
        caught, influence_variance(of_bad, of_good, bad, unit), parts, 1 / alone, _F1_PRIOR, alone, confidence
    )
    return 2 * low / (1 + low), 2 * high / (1 + high)


def mean_interval(value: FloatArray, group: IntArray | None, confidence: float = 0.95) -> Interval:
    """Interval of the mean of positive values, such as the loss: on the logarithm, with the variance over groups.

    (nan, nan) where it is undefined.
    """
    n = len(value)
    mean = float(value.mean()) if n else math.nan
    if n < 2 or not 0 < mean < math.inf:
        return (mean, mean) if mean == 0 else (math.nan, math.nan)
    effect = 1.0 if group is None else design_effect(value, group)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(float(value.var(ddof=1)) * effect / n) / mean
    return mean * math.exp(-half), mean * math.exp(half)


def influence_variance(of_bad: FloatArray, of_good: FloatArray, bad: BoolArray, unit: IntArray) -> float:
    """Variance of a metric over groups, from the influence of each photo."""
    influences = np.zeros(len(bad))
    for of_class, influence in ((bad, of_bad), (~bad, of_good)):
        groups = len(np.unique(unit[of_class]))
        if groups > 1:
            correction = math.sqrt(groups / (groups - 1))
            influences[of_class] = (influence - influence.mean()) / len(influence) * correction
    return float((np.bincount(unit, weights=influences) ** 2).sum())


def _steady(
    value: float, variance: float, groups: int, model: float, prior: float, flawless: float, confidence: float
) -> Interval:
    """Wilson's interval for the number of photos that gives a proportion the variance of a metric.

    Args:
        value: the metric, in [0, 1].
        variance: its measured variance.
        groups: number of groups it was measured on.
        model: variance by a model, as a multiple of value (1 - value).
        prior: number of groups that the model counts for.
        flawless: photos to assume if the value is 0 or 1 and nothing varies.
        confidence: in (0, 1).
    """
    odds = value * (1 - value)
    spread = max(variance, (groups * variance + prior * model * odds) / (groups + prior))
    n = odds / spread if odds > 1e-15 else flawless
    return wilson(value * n, n, confidence)
