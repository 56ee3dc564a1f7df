"""AUROC and average precision: how well scores rank Incorrect above Correct, with intervals."""

from typing import NamedTuple

import numpy as np

from qc_lightning.metrics.intervals import (
    BoolArray,
    FloatArray,
    IntArray,
    Interval,
    design_effect,
    influence_variance,
    wilson,
)

# Chosen in simulations (benchmarks/coverage.py): further photos that look like the other class, for the lower end of
# AUROC and average precision.
_AUROC_MORE, _PRECISION_MORE = 1 / 3, 1.0


class Ranking(NamedTuple):
    """AUROC and average precision with 95% intervals."""

    auroc: float
    auroc_interval: Interval
    average_precision: float
    average_precision_interval: Interval


def ranking(score: FloatArray, bad: BoolArray, group: IntArray | None = None, confidence: float = 0.95) -> Ranking:
    """AUROC and average precision with intervals.

    The variance of both is that of the influence of single photos (for AUROC: DeLong, DeLong & Clarke-Pearson 1988,
    Biometrics 44; with groups Obuchowski 1997, Biometrics 53). The interval is Wilson's for the number of photos that
    gives a proportion that variance. The test may lack the worst photos: one odd Correct photo above all Incorrect ones
    can cost more than all observed errors. The lower end therefore includes a further Correct photo that looks like an
    Incorrect one, and vice versa; their mean loss and its square are added, in parts, as Fay & Feuer (1997, Statistics
    in Medicine 16) do for a sum of weighted Poisson counts.

    Args:
        score: float [n], finite; equal ones count half for AUROC and together for average precision.
        bad: bool [n], both values occur.
        group: int [n], 0 <= group, or None if photos are independent.
        confidence: in (0, 1).
    """
    unit = np.arange(len(score)) if group is None else group
    high, low = np.sort(score[bad]), np.sort(score[~bad])
    m, n = len(high), len(low)
    # a further photo comes with those of its part
    with_bad, with_good = (design_effect(np.zeros(k, dtype=bool), unit[side]) for k, side in ((m, bad), (n, ~bad)))
    few = min(m / with_bad, n / with_good)

    above = (np.searchsorted(low, score[bad], "left") + np.searchsorted(low, score[bad], "right")) / (2 * n)
    below = 1 - (np.searchsorted(high, score[~bad], "left") + np.searchsorted(high, score[~bad], "right")) / (2 * m)
    auroc = float(above.mean())
    costs = with_bad / m, with_good / n  # at most, of a further photo, which loses a share of it between 0 and 1
    more = _AUROC_MORE * sum(costs) / 2, _AUROC_MORE * (costs[0] ** 2 + costs[1] ** 2) / 3
    variance = influence_variance(above, below, bad, unit)
    ends = _unless_unmet(max(auroc, 1 - auroc), variance, more, few, confidence)
    auroc_interval = ends if auroc >= 0.5 else (1 - ends[1], 1 - ends[0])

    # precision where each Incorrect photo is the last one rejected; caught and overkill count photos at or above it
    caught, overkill = m - np.searchsorted(high, high, "left"), n - np.searchsorted(low, high, "left")
    precision = caught / (caught + overkill)
    average = float(precision.mean())
    gain = np.cumsum(overkill / (caught + overkill) ** 2)
    loss = np.concatenate([[0.0], np.cumsum(caught / (caught + overkill) ** 2)])
    place = np.searchsorted(high, score[bad], "right")
    of_bad = precision[place - 1] + gain[place - 1]
    of_good = -(n / m) * loss[np.searchsorted(high, score[~bad], "right")]
    # a further Correct photo at the place of each Incorrect one, a further Incorrect photo at that of each Correct one
    good_costs = np.cumsum(precision - caught / (caught + overkill + 1))[np.searchsorted(high, high, "right") - 1] / m
    gains = np.concatenate([[0.0], np.cumsum((caught + 1) / (caught + overkill + 1) - precision)])
    first, reached = np.searchsorted(high, low, "left"), n - np.searchsorted(low, low, "left")
    own = (m - first + 1) / (m - first + reached + 1)
    bad_costs = average - (average * m + gains[first] + own) / (m + 1)
    losses = with_good * good_costs, with_bad * bad_costs
    more = (
        _PRECISION_MORE * float(losses[0].mean() + losses[1].mean()),
        _PRECISION_MORE * float((losses[0] ** 2).mean() + (losses[1] ** 2).mean()),
    )
    average_interval = _unless_unmet(average, influence_variance(of_bad, of_good, bad, unit), more, few, confidence)
    return Ranking(auroc, auroc_interval, average, average_interval)


def _unless_unmet(value: float, variance: float, more: tuple[float, float], few: float, confidence: float) -> Interval:
    """Wilson's interval of as many photos as give a proportion this variance; its lower end includes further photos.

    Args:
        value: the metric, in [0, 1].
        variance: as measured.
        more: mean loss by further photos, and the mean of its square.
        few: photos to assume if the metric does not vary.
        confidence: in (0, 1).
    """

    def end(lost: float, variance: float, side: int) -> float:
        odds = lost * (1 - lost)
        n = odds / variance if odds > 1e-15 and variance > 1e-15 else few
        return 1 - wilson(lost * n, n, confidence)[side]

    worse = min(1.0, max(1 - value, 1 - value + more[0]))
    return min(value, end(worse, variance + more[1], 1)), max(value, end(1 - value, variance, 0))
