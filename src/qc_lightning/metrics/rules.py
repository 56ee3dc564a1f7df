"""Rules that choose a decision from the scores of validation photos. Needs numpy only."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qc_lightning.config.decisions import DecisionConfig
from qc_lightning.metrics.calibration import platt
from qc_lightning.metrics.decision import Decision

FloatArray = npt.NDArray[np.float64]

_SMALLEST = 1e-7  # smallest probability with a finite logit in single precision
FEW = 20  # Incorrect photos: with fewer they alone cannot set a threshold
OVERKILL_RATE = 0.05  # of rule=overkill, by default


def choose_decision(probability: npt.ArrayLike, label: npt.ArrayLike, config: DecisionConfig) -> Decision:
    """Choose threshold and review band on validation or out-of-fold photos, never on test photos.

    - fixed: the given threshold.
    - even: where both classes are equally likely, by Platt scaling with equal class weights. It rests on all scores,
      not only on those near the threshold, and transfers better than `balanced` to other groups. With fewer
      than 20 Incorrect photos it is at most what 5% of the Correct ones exceed.
    - balanced, f1: the best balanced accuracy, the best F1.
    - cost: the lowest cost per part at the line's share of bad parts; with a cost of a review, the two ends of a band.
    - escape: the highest threshold with at most this rate of escapes; with an overkill rate too, a band if no threshold
      keeps both.
    - overkill: the lowest threshold that a new Correct photo reaches with a probability of at most this rate (split
      conformal prediction, Vovk et al. 2005). It replaces the other rules if all photos are Correct.

    Of equally good thresholds it is the middle of the widest gap between two neighbouring scores, so that it sits on no
    photo. Where validation cannot tell (no photos, Incorrect ones only, no threshold better than chance) the fixed
    threshold is used and `source` has the reason.

    Args:
        probability: float [n], P(Incorrect) of validation photos; n may be 0.
        label: int [n], 1 = Incorrect.
        config: the rule and what it needs.
    """
    fixed = config.threshold
    if config.rule == "fixed":
        return Decision(fixed, "fixed: set by hand, not fitted to photos")
    scores, positive = np.asarray(probability, dtype=np.float64), np.asarray(label) == 1
    n, incorrect = len(scores), int(positive.sum())
    if n == 0:
        return Decision(fixed, "fixed: no validation photos to choose it on")
    if incorrect == n:
        return Decision(fixed, f"fixed: all {n} validation photos are Incorrect, so there is nothing to tell apart")
    if not np.isfinite(scores).all():
        return Decision(fixed, "fixed: some validation photos have no finite probability")
    if config.rule == "overkill" or incorrect == 0:
        return _few_overkills(scores, positive, config.overkill_rate or OVERKILL_RATE)
    cuts = _Cuts.from_scores(scores, positive)
    photos = f"{n} validation photos ({incorrect} Incorrect)"
    # 2 * n1 * n0 * balanced accuracy as an integer, so that rounding cannot break ties
    balanced = (incorrect - cuts.escapes) * (n - incorrect) + (n - incorrect - cuts.overkills) * incorrect
    if len(cuts.between) == 0 or balanced.max() <= incorrect * (n - incorrect):
        return Decision(fixed, f"fixed: no threshold beats chance on the {photos}")
    if config.rule == "even":
        even = _even_odds(scores, positive)
        if incorrect < FEW <= n - incorrect:
            return _safe_of_few(even, scores, positive)
        right = (positive & (scores >= even)).sum() / incorrect + (~positive & (scores < even)).sum() / (n - incorrect)
        return Decision(even, f"even: both classes equally likely; balanced accuracy {right / 2:.1%} on {photos}")
    if config.rule == "balanced":
        reached = balanced.max() / (2 * incorrect * (n - incorrect))
        return Decision(cuts.best(balanced), f"balanced: best balanced accuracy, {reached:.1%}, on {photos}")
    if config.rule == "f1":
        f1 = 2 * (incorrect - cuts.escapes) / (2 * (incorrect - cuts.escapes) + cuts.overkills + cuts.escapes)
        return Decision(cuts.best(f1), f"f1: best F1, {f1.max():.1%}, on {photos}")
    if config.rule == "cost":
        return _least_cost(cuts, incorrect, n - incorrect, config, photos)
    return _few_escapes(cuts, incorrect, n - incorrect, config, photos)


@dataclass(frozen=True)
class _Cuts:
    """Every threshold between two neighbouring scores, and what it does.

    Attributes:
        below: float [c], the score below the threshold; `above` the one above.
        escapes: float [c], Incorrect photos below the threshold.
        overkills: float [c], Correct photos above it.
    """

    below: FloatArray
    above: FloatArray
    escapes: FloatArray
    overkills: FloatArray

    @classmethod
    def from_scores(cls, scores: FloatArray, positive: npt.NDArray[np.bool_]) -> "_Cuts":
        distinct, place = np.unique(scores, return_inverse=True)
        bad: FloatArray = np.bincount(place, weights=positive).astype(np.float64)
        good: FloatArray = np.bincount(place, weights=~positive).astype(np.float64)
        # photos from a cut on, summed from the top down
        return cls(distinct[:-1], distinct[1:], bad.cumsum()[:-1], good[::-1].cumsum()[::-1][1:])

    @property
    def between(self) -> FloatArray:
        """The middle of each gap; where rounding leaves none, the score above."""
        middle = (self.below + self.above) / 2
        return np.where(middle > self.below, middle, self.above)

    def best(self, merit: FloatArray) -> float:
        """The threshold of the largest merit, in the widest gap of equally good ones."""
        widest = int(np.argmax(np.where(merit == merit.max(), self.above - self.below, -1.0)))
        return float(self.between[widest])


def _even_odds(probability: FloatArray, positive: npt.NDArray[np.bool_]) -> float:
    """The probability that Platt scaling of the logits turns into 0.5."""
    inside = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    slope, offset = platt(np.log(inside / (1 - inside)), positive)
    return float(1 / (1 + np.exp(offset / slope)))


def exceeded_by(values: FloatArray, rate: float) -> float | None:
    """The value that a further one of the same kind exceeds with a probability of at most `rate`, in (0, 1).

    An order statistic (split conformal prediction); None if there are too few values for that rate.

    >>> exceeded_by(np.arange(199.0), 0.05), exceeded_by(np.arange(18.0), 0.05)
    (189.0, None)
    """
    rank = math.ceil((1 - rate) * (len(values) + 1) - 1e-9)
    return float(np.sort(values)[rank - 1]) if rank <= len(values) else None


def _few_overkills(scores: FloatArray, positive: npt.NDArray[np.bool_], rate: float) -> Decision:
    good, bad = scores[~positive], scores[positive]
    limit = exceeded_by(good, rate)
    highest = float(good.max()) if limit is None else limit
    above = good[good > highest]
    middle = (highest + float(above.min())) / 2 if len(above) else highest
    threshold = min(max(middle, float(np.nextafter(highest, 2.0))), 1.0)
    words = f"overkill: a new Correct photo is rejected with a probability of at most {rate:.4g}"
    if limit is None:
        words = f"overkill: above all Correct photos; a rate of {rate:.4g} takes {math.ceil(1 / rate - 1e-9) - 1}"
    passing = f"{int((bad < threshold).sum())} of {len(bad)} Incorrect pass" if len(bad) else "escapes are unknown"
    return Decision(threshold, f"{words}, on {len(good)} Correct validation photos; {passing}")


def _safe_of_few(even: float, scores: FloatArray, positive: npt.NDArray[np.bool_]) -> Decision:
    """The lower of even odds and what 5% of the Correct exceed: both rest on all photos."""
    bad, good = int(positive.sum()), int((~positive).sum())
    limit = exceeded_by(scores[~positive], OVERKILL_RATE)
    threshold = even if limit is None else min(even, float(np.nextafter(limit, 2.0)), 1.0)
    escaped, overkilled = int((scores[positive] < threshold).sum()), int((scores[~positive] >= threshold).sum())
    return Decision(
        threshold,
        f"even: rests on only {bad} Incorrect validation photos: the lower of equal odds and what {OVERKILL_RATE:.0%} "
        f"of the Correct exceed; {escaped} of {bad} Incorrect pass and {overkilled} of {good} Correct are rejected",
    )


def _least_cost(cuts: _Cuts, incorrect: int, correct: int, config: DecisionConfig, photos: str) -> Decision:
    bad, costs = config.bad_share or 0.0, config.costs
    escape, overkill = bad * cuts.escapes / incorrect, (1 - bad) * cuts.overkills / correct
    cost = costs.escape * escape + costs.overkill * overkill
    threshold, least = cuts.best(-cost), float(cost.min())
    prices = f"an escape {costs.escape:g}, an overkill {costs.overkill:g}"
    words = f"cost: least cost, {least:.3g} a part, at {bad:.2%} bad parts ({prices}{{}}), on {photos}"
    if costs.review is None:
        return Decision(threshold, words.format(""))
    # the cost of a band is a sum over its two ends, so that each end is optimised separately
    low = cuts.best(-((costs.escape - costs.review) * escape + costs.review * overkill))
    high = cuts.best(-(costs.review * escape + (costs.overkill - costs.review) * overkill))
    words = words.format(f", a review {costs.review:g}")
    if not low < high:
        return Decision(threshold, f"{words}; no band is cheaper than one threshold")
    return Decision(min(max(threshold, low), high), words, (low, high))


def _few_escapes(cuts: _Cuts, incorrect: int, correct: int, config: DecisionConfig, photos: str) -> Decision:
    """The highest threshold within the escape rate; with an overkill rate the lowest one within that ends the band."""
    rate = config.escape_rate or 0.0
    fits = cuts.escapes <= rate * incorrect * (1 + 1e-12)
    low = float(cuts.between[fits][-1]) if fits.any() else float(cuts.below[0])
    escapes = int(cuts.escapes[fits][-1]) if fits.any() else 0
    words = f"escape: at most {rate:.4g} of the Incorrect pass, {escapes} of {incorrect} do, on {photos}; no guarantee"
    if config.overkill_rate is None:
        return Decision(low, words)
    fits = cuts.overkills <= config.overkill_rate * correct * (1 + 1e-12)
    high = float(cuts.between[fits][0]) if fits.any() else float(np.nextafter(cuts.above[-1], 2.0))
    words += f"; at most {config.overkill_rate:.4g} of the Correct are rejected"
    return Decision(low, words, (low, min(high, 1.0)) if high > low else None)
