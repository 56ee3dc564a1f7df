"""Compare two runs on the same photos by an exact test and an interval, in plain words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qc_lightning.metrics.intervals import design_effect, wilson
from qc_lightning.metrics.verdict import Verdicts, escapes, overkills, reviews

BoolArray = npt.NDArray[np.bool_]

_SURE = 0.05  # p value below which a difference is called, if its interval excludes 0


@dataclass(frozen=True)
class Difference:
    """Difference of two runs in one rate on the same photos.

    Attributes:
        name: words for the rate.
        candidate: rate of the run, in [0, 1].
        baseline: rate of the other run.
        low: lower end of the 95% interval of candidate - baseline, in [-1, 1].
        high: its upper end.
        only_candidate: photos counted by the rate only in the run.
        only_baseline: photos counted only in the other run.
        p: p value of the exact test for no difference.
        more_is_better: true for accuracy.
        n: number of photos.
    """

    name: str
    candidate: float
    baseline: float
    low: float
    high: float
    only_candidate: int
    only_baseline: int
    p: float
    more_is_better: bool
    n: int

    @property
    def verdict(self) -> str:
        """Better, worse or cannot tell: both the test and the interval must show a difference."""
        if self.p >= _SURE or self.low <= 0 <= self.high:
            return "cannot tell"
        return "better" if (self.low > 0) == self.more_is_better else "worse"

    def __str__(self) -> str:
        points = (
            f"{100 * (self.candidate - self.baseline):+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"
        )
        rates = f"candidate {self.candidate:.1%}, baseline {self.baseline:.1%}"
        return (
            f"{self.name}: {self.verdict}. {rates}, {points}; only "
            f"candidate {self.only_candidate}, only baseline {self.only_baseline} of {self.n} photos, p = {self.p:.2g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The entry in metrics.json."""
        value = {"value": self.candidate - self.baseline, "low": self.low, "high": self.high}
        counts = {"only_candidate": self.only_candidate, "only_baseline": self.only_baseline, "n": self.n}
        rates = {"candidate": self.candidate, "baseline": self.baseline}
        return {**rates, "difference": value, **counts, "p": self.p, "is": self.verdict}


def compare(
    candidate: Verdicts, baseline: Verdicts, label: npt.NDArray[np.integer], group: Sequence[str]
) -> dict[str, Difference]:
    """Compare the verdicts of two runs on the same photos: accuracy, escape rate and overkill rate.

    Args:
        candidate: verdicts of the run, [n].
        baseline: verdicts of the other run, [n].
        label: int [n], 1 = Incorrect.
        group: n names; photos of one group count as dependent.

    Returns:
        Differences by their names in metrics.json; a rate without photos is left out.
    """
    bad = np.asarray(label) == 1
    unit = np.unique(np.asarray(group, dtype=np.str_), return_inverse=True)[1]
    everything = np.ones(len(bad), dtype=bool)
    escaped, overkilled = (
        [mistakes(verdicts, label) for verdicts in (candidate, baseline)] for mistakes in (escapes, overkills)
    )
    right, right_baseline = (
        ~(escaped[i] | overkilled[i] | reviews(side)) for i, side in enumerate((candidate, baseline))
    )
    rates = {
        "accuracy": ("accuracy", right, right_baseline, everything),
        "escape_rate": ("escape rate", *escaped, bad),
        "overkill_rate": ("overkill rate", *overkilled, ~bad),
    }
    return {
        key: _difference(name, a[among], b[among], unit[among], more_is_better=key == "accuracy")
        for key, (name, a, b, among) in rates.items()
        if among.any()
    }


def mcnemar_exact(only_candidate: int, only_baseline: int) -> float:
    """P value of McNemar's exact test (1947, Psychometrika 12), two-sided.

    The binomial test of the photos on which the two differ, each of which falls to either side with probability 1/2.
    """
    from scipy.stats import binomtest

    n = only_candidate + only_baseline
    return float(binomtest(only_candidate, n, 0.5).pvalue) if n else 1.0


def paired_interval(
    both: float, only_candidate: float, only_baseline: float, neither: float, design_effect: float = 1.0
) -> tuple[float, float]:
    """95% interval of the difference of two proportions on the same photos.

    Newcombe 1998 (Statistics in Medicine 17, 2635-2650), method 10: the Wilson intervals of the two proportions, joined
    with regard to their correlation. It holds up where few photos differ, or none, and never leaves [-1, 1].

    Args:
        both: photos counted by both.
        only_candidate: counted only by the first.
        only_baseline: counted only by the second.
        neither: counted by neither.
        design_effect: variance of the difference relative to independent photos; the interval is that of
            n / design_effect independent ones.

    Returns:
        (low, high) of first - second, -1 <= low <= high <= 1.
    """
    n = both + only_candidate + only_baseline + neither
    a, b, c, d = (count / design_effect for count in (both, only_candidate, only_baseline, neither))
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    product = a * d - b * c
    if product > 0:  # a continuity correction, for a positive correlation only
        product = max(0.0, product - n / design_effect / 2)
    correlation = product / math.sqrt(margins) if margins > 0 else 0.0
    p, q = (both + only_candidate) / n, (both + only_baseline) / n
    p_low, p_high = wilson(both + only_candidate, n, design_effect=design_effect)
    q_low, q_high = wilson(both + only_baseline, n, design_effect=design_effect)

    def joined(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))

    return max(-1.0, p - q - joined(p - p_low, q_high - q)), min(1.0, p - q + joined(p_high - p, q - q_low))


def _difference(
    name: str, candidate: BoolArray, baseline: BoolArray, unit: npt.NDArray[np.int64], more_is_better: bool
) -> Difference:
    only_candidate, only_baseline = int((candidate & ~baseline).sum()), int((baseline & ~candidate).sum())
    both, neither = int((candidate & baseline).sum()), int((~candidate & ~baseline).sum())
    difference = candidate.astype(np.float64) - baseline
    low, high = paired_interval(both, only_candidate, only_baseline, neither, design_effect(difference, unit))
    # Photos of one part are not independent, parts are: each part has one vote, for the run that is
    # better on it. With one photo per part this is McNemar's test.
    votes = np.bincount(unit, weights=difference)
    p = mcnemar_exact(int((votes > 0).sum()), int((votes < 0).sum()))
    n = len(candidate)
    return Difference(
        name, candidate.mean(), baseline.mean(), low, high, only_candidate, only_baseline, p, more_is_better, n
    )
