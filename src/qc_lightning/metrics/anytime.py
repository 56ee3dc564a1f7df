"""Anytime-valid bounds on a rate: they hold at all times together, however often one looks.

Tracking a deployed model's risk in this way: Podkopaev and Ramdas (2022, ICLR). For each rate the wealth of a gambler
who bets against "the rate is at most this" is an average of likelihood ratios of larger rates. While the claim is true
no such ratio is expected to grow, so wealth reaches 1 / (1 - confidence) with a probability of at most 1 - confidence,
ever (Ville 1939). The average is over a fixed grid, so that this holds exactly. Needs numpy only.
"""

import math

import numpy as np

_FACTORS = 2.0 ** np.arange(0.5, 12.5, 0.5)  # of the odds of a rate: what the gambler bets on


def log_wealth(misses: int, parts: int, rate: float) -> float:
    """Natural logarithm of the wealth against "the rate is at most `rate`" after `misses` among `parts`.

    Args:
        misses: 0 to `parts`.
        parts: at least 0, each a miss or not, independently of the others.
        rate: in (0, 1).
    """
    other = _FACTORS * rate / (1 - rate + _FACTORS * rate)
    ratios = misses * np.log(other / rate) + (parts - misses) * np.log((1 - other) / (1 - rate))
    top = float(ratios.max())
    return top + math.log(float(np.exp(ratios - top).mean()))


def exceeds(misses: int, parts: int, rate: float, confidence: float = 0.95) -> bool:
    """Whether the rate is shown to be above `rate`, wrongly with a probability of at most 1 - confidence, ever.

    >>> exceeds(2, 10, 0.05), exceeds(5, 10, 0.05)
    (False, True)
    """
    return parts > 0 and log_wealth(misses, parts, rate) >= -math.log(1 - confidence)


def lower_bound(misses: int, parts: int, confidence: float = 0.95) -> float:
    """The largest rate that is shown to be exceeded by `misses` among `parts`; 0 for no misses."""
    if not misses:
        return 0.0
    low, high = 0.0, misses / parts
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(misses, parts, middle, confidence) else (low, middle)
    return low


def upper_bound(misses: int, parts: int, confidence: float = 0.95) -> float:
    """The smallest rate that `misses` among `parts` are shown not to exceed; 1 for no parts."""
    return 1.0 - lower_bound(parts - misses, parts, confidence) if parts else 1.0
