"""Guarantees from qualification photos: exact one-sided bounds, counted by part.

A guarantee is a threshold with a rate that it keeps at a confidence. The threshold is an order statistic of the scores
of the qualification parts (Wilks 1941, Annals of Mathematical Statistics 12), so it is found without trying thresholds
and needs no correction for having tried many. Ties can only make the true rate smaller.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROOM = 1e-3
"""Logit margin between a threshold and the part that set it, so that rounding elsewhere changes no verdict."""

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def most_misses(parts: int, rate: float, confidence: float = 0.95) -> int:
    """The largest number of misses among `parts` that still shows a rate of at most `rate`; -1 if even 0 does not.

    The largest k with P(X <= k) <= 1 - confidence for a binomial X of `parts` trials at `rate`.

    Args:
        parts: at least 0.
        rate: in (0, 1).
        confidence: in (0, 1), one-sided.

    >>> [most_misses(n, 0.05) for n in (58, 59, 92, 93)]
    [-1, 0, 0, 1]
    """
    from scipy.special import bdtr

    tails = bdtr(np.arange(parts + 1, dtype=np.float64), parts, rate)
    return int(np.searchsorted(tails, 1 - confidence, side="right")) - 1


def parts_needed(rate: float, misses: int = 0, confidence: float = 0.95) -> int:
    """Number of parts needed to show a rate of at most `rate` with `misses` misses.

    >>> [parts_needed(0.1, misses) for misses in range(4)]
    [29, 46, 61, 76]
    """
    low, high = misses, misses + 1
    while most_misses(high, rate, confidence) < misses:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if most_misses(middle, rate, confidence) >= misses else (middle, high)
    return high


def upper_bound(misses: int, parts: int, confidence: float = 0.95) -> float:
    """One-sided upper Clopper-Pearson bound (1934) on a rate with `misses` among `parts`; 1 for no parts.

    >>> round(upper_bound(0, 27), 3)
    0.105
    """
    from scipy.special import betaincinv

    return float(betaincinv(misses + 1, parts - misses, confidence)) if misses < parts else 1.0


def lower_bound(misses: int, parts: int, confidence: float = 0.95) -> float:
    """One-sided lower Clopper-Pearson bound on a rate with `misses` among `parts`; 0 for no misses."""
    return 1.0 - upper_bound(parts - misses, parts, confidence) if misses else 0.0


def by_part(
    score: FloatArray, label: npt.NDArray[np.integer], part: Sequence[str]
) -> tuple[FloatArray, BoolArray, list[str]]:
    """Each part's highest score, since the worst photo decides, and whether any of its photos shows a defect.

    Args:
        score: float [n], P(Incorrect).
        label: int [n], 1 = Incorrect.
        part: n names.

    Returns:
        Scores float [m], bool [m] and the m names, sorted.
    """
    names, place = np.unique(np.asarray(part, dtype=np.str_), return_inverse=True)
    worst, bad = np.full(len(names), -np.inf), np.zeros(len(names), dtype=bool)
    np.maximum.at(worst, place, score)
    np.logical_or.at(bad, place, np.asarray(label) == 1)
    return worst, bad, names.tolist()


@dataclass(frozen=True)
class Limit:
    """One end of a decision, and the rate that it is shown to keep.

    Attributes:
        kind: "escape" (parts below the threshold pass) or "overkill" (parts from it on are rejected).
        rate: the claimed upper bound, in (0, 1); of Incorrect parts for escapes, of Correct ones for overkill.
        confidence: one-sided.
        parts: of that class.
        allowed: largest number of misses among them at the threshold; -1 if there are too few parts.
        threshold: in [0, 1]; None if the rate cannot be shown. It is the same number in single precision, and the
            parts that gave it stay on their side of it when their scores are rounded to single precision.
    """

    kind: str
    rate: float
    confidence: float
    parts: int
    allowed: int
    threshold: float | None

    @property
    def shown(self) -> bool:
        """Whether the rate is shown."""
        return self.threshold is not None

    def __str__(self) -> str:
        rate, sure = f"{100 * self.rate:.4g}%", f"{100 * self.confidence:.4g}% confidence"
        name, miss = ("Incorrect", "an escape") if self.kind == "escape" else ("Correct", "an overkill")
        parts = f"{self.parts} {name} parts"
        if self.shown:
            return (
                f"{self.kind} rate at most {rate} at {sure}, one-sided exact (at most {self.allowed} of {parts} at the "
                "threshold)"
            )
        missing = parts_needed(self.rate, 0, self.confidence) - self.parts
        if missing <= 0:
            return f"{self.kind} rate {rate} not shown: {self.allowed + 1} of {parts} score 1, above every threshold"
        if not self.parts:
            return f"{self.kind} rate {rate} not shown: {parts} certify nothing; {missing} parts are needed for {rate}"
        could = f"{100 * upper_bound(0, self.parts, self.confidence):.3g}%"
        certify = f"{parts} without {miss} certify {could} at {sure}"
        return f"{self.kind} rate {rate} not shown: {certify}; {missing} more for {rate}"


def escape_limit(score: FloatArray, rate: float, confidence: float = 0.95) -> Limit:
    """The highest threshold below which Incorrect parts pass at a rate of at most `rate`.

    It is the (k + 1)-th smallest score for k = `most_misses`, less `ROOM` but at most half way to the next smaller
    score, rounded down to single precision. A lower threshold lets no more parts pass, so the claim holds.

    Args:
        score: float [m], of the Incorrect parts, each part's worst photo.
        rate: in (0, 1).
        confidence: in (0, 1).
    """
    allowed = most_misses(len(score), rate, confidence)
    if allowed < 0:
        return Limit("escape", rate, confidence, len(score), allowed, None)
    at = float(np.sort(score)[allowed])
    at = max(_shifted(at, -ROOM), (at + float(score[score < at].max(initial=0.0))) / 2)
    single = np.float32(at)
    if float(single) > at:
        single = np.nextafter(single, np.float32(-np.inf))
    return Limit("escape", rate, confidence, len(score), allowed, max(0.0, float(single)))


def overkill_limit(score: FloatArray, rate: float, confidence: float = 0.95) -> Limit:
    """The lowest threshold from which on Correct parts are rejected at a rate of at most `rate`.

    It lies above the (k + 1)-th largest score for k = `most_misses`, by `ROOM` but at most half way to the next larger
    score, in single precision.

    Args:
        score: float [m], of the Correct parts, each part's worst photo.
        rate: in (0, 1).
        confidence: in (0, 1).
    """
    allowed = most_misses(len(score), rate, confidence)
    if allowed < 0:
        return Limit("overkill", rate, confidence, len(score), allowed, None)
    at = float(np.sort(score)[len(score) - 1 - allowed])
    at = min(_shifted(at, ROOM), (at + float(score[score > at].min(initial=1.0))) / 2)
    single = np.float32(at)
    if float(single) < at:
        single = np.nextafter(single, np.float32(np.inf))
    above = float(np.nextafter(single, np.float32(np.inf)))
    return Limit("overkill", rate, confidence, len(score), allowed, above if above <= 1.0 else None)


def _shifted(probability: float, logits: float) -> float:
    """Shift a probability by `logits` on the logit scale; 0 and 1 stay."""
    if not 0.0 < probability < 1.0:
        return probability
    odds = probability / (1 - probability) * math.exp(logits)
    return odds / (1 + odds)


def find_limits(
    score: FloatArray,
    bad: BoolArray,
    escape_rate: float,
    overkill_rate: float | None = None,
    confidence: float = 0.95,
    together: bool = False,
) -> list[Limit]:
    """Find the limits of a decision that keeps an escape rate and optionally an overkill rate.

    Args:
        score: float [m], each part's worst photo (`by_part`).
        bad: bool [m].
        escape_rate: in (0, 1).
        overkill_rate: in (0, 1), or None.
        confidence: of each claim, or with `together` of both at once.
        together: whether the claims hold together at `confidence` (Bonferroni: each at half the risk).

    Returns:
        The limit for escapes, and the one for overkill if requested.
    """
    each = 1 - (1 - confidence) / 2 if together and overkill_rate is not None else confidence
    limits = [escape_limit(score[bad], escape_rate, each)]
    if overkill_rate is not None:
        limits.append(overkill_limit(score[~bad], overkill_rate, each))
    return limits


def band(limits: Sequence[Limit]) -> tuple[float, tuple[float, float] | None]:
    """Return the threshold and the review band for limits that are all shown.

    Below the limit of escapes a part passes. Where the limit of overkill lies higher, parts between the two are
    reviewed; where it lies lower, one threshold keeps both.

    Raises:
        ValueError: a limit is not shown.
    """
    ends = [limit.threshold for limit in limits if limit.threshold is not None]
    if len(ends) != len(limits):
        raise ValueError("a rate that is not shown has no threshold")
    low, high = ends[0], ends[-1]
    return low, (low, high) if high > low else None
