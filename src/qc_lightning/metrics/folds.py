"""Interval of a metric measured on several folds of the same photos."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class FoldFigure(NamedTuple):
    """Mean over folds with its 95% interval."""

    mean: float
    low: float
    high: float


def nadeau_bengio(values: Sequence[float], held_out: float, confidence: float = 0.95) -> FoldFigure:
    """Interval of the mean of a metric over folds with overlapping training parts.

    The corrected resampled t interval (Nadeau & Bengio 2003, Machine Learning 52; for repeated cross-validation
    Bouckaert & Frank 2004): the mean of J values of variance s^2 has the variance (1 / J + held_out) s^2, with J - 1
    degrees of freedom. Without the correction folds would count as independent tests, which they are not.

    Args:
        values: the metric on each fold, at least two.
        held_out: photos of a fold divided by photos of its training part, 1 / (k - 1) for k folds.
        confidence: in (0, 1).

    >>> round(nadeau_bengio([0.8, 0.9], 0.25).mean, 3)
    0.85
    """
    from scipy.special import stdtrit

    count = len(values)
    mean, variance = statistics.fmean(values), statistics.variance(values)
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * math.sqrt((1 / count + held_out) * variance)
    return FoldFigure(mean, mean - half, mean + half)
