"""Attribute agreement analysis: agreement within appraisers, between them, and with the reference.

Terms and tables are those of AIAG's Measurement Systems Analysis, 4th edition, chapter III, section C.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from qc_lightning.metrics.intervals import wilson
from qc_lightning.metrics.verdict import Verdict

IntArray = npt.NDArray[np.int64]
_PRIOR = 10  # weight, in parts, of independent disagreements relative to the measured variance of kappa
RISING = ("effectiveness", "kappa")  # graded metrics for which larger is better
_BETA = 0.55  # of the Beta interval; 0.5 (Jeffreys) covers 91% at kappa 0.9 with 50 parts


@dataclass(frozen=True)
class Study:
    """Verdicts of several appraisers on the same parts, several times each.

    Attributes:
        appraisers: names.
        parts: names.
        words: the verdicts that occur; a verdict is stored as its index.
        verdict: int [parts, appraisers, trials].
        reference: int [parts], or None if the truth is unknown.
        bad: index of the word for a defect in `words`; None without a reference.
    """

    appraisers: Sequence[str]
    parts: Sequence[str]
    words: Sequence[str]
    verdict: IntArray
    reference: IntArray | None = None
    bad: int | None = None


def analyse(study: Study, confidence: float = 0.95) -> dict[str, Any]:
    """Compute all metrics of a study.

    Returns:
        {"parts", "trials", "words", "within": {appraiser: rate}, "between": rate, "against_reference": {appraiser:
        rate}, "all_against_reference": rate, "effectiveness", "miss_rate", "false_alarm_rate": {appraiser: rate},
        "kappa_pairs": {"A x B": kappa}, "kappa_reference": {appraiser: kappa}, "fleiss_within": {appraiser: kappa},
        "fleiss_between": kappa}; each {"value", "low", "high", "n"}, rates with Wilson intervals; the keys on the
        reference are missing without one.
    """
    verdict, names = study.verdict, list(study.appraisers)
    parts, count, trials = verdict.shape
    same = (verdict == verdict[:, :, :1]).all(axis=2)
    alike = same.all(axis=1) & (verdict[:, :, 0] == verdict[:, :1, 0]).all(axis=1)
    analysis: dict[str, Any] = {"parts": parts, "trials": trials, "words": list(study.words)}
    if trials > 1:
        analysis["within"] = {name: _rate(same[:, i], confidence) for i, name in enumerate(names)}
        analysis["fleiss_within"] = {name: fleiss_kappa(verdict[:, i], confidence) for i, name in enumerate(names)}
    if count > 1:
        analysis["between"] = _rate(alike, confidence)
        analysis["kappa_pairs"] = {
            f"{names[i]} x {names[j]}": cohen_kappa(verdict[:, i], verdict[:, j], confidence)
            for i, j in combinations(range(count), 2)
        }
        analysis["fleiss_between"] = fleiss_kappa(verdict.reshape(parts, -1), confidence)
    if study.reference is not None:
        truth = study.reference
        right = verdict == truth[:, None, None]
        matched = right.all(axis=2)
        analysis["against_reference"] = {name: _rate(matched[:, i], confidence) for i, name in enumerate(names)}
        analysis["all_against_reference"] = _rate(matched.all(axis=1), confidence)
        analysis["effectiveness"] = analysis["against_reference"]
        bad = truth == study.bad
        review = [place for place, word in enumerate(study.words) if word == Verdict.REVIEW]
        other = ~right & ~np.isin(verdict, review)
        analysis["miss_rate"] = {name: _chances(other[bad, i], confidence) for i, name in enumerate(names)}
        analysis["false_alarm_rate"] = {name: _chances(other[~bad, i], confidence) for i, name in enumerate(names)}
        repeated = np.repeat(truth[:, None], trials, axis=1)
        analysis["kappa_reference"] = {
            name: cohen_kappa(verdict[:, i], repeated, confidence) for i, name in enumerate(names)
        }
    return analysis


def cohen_kappa(first: IntArray, second: IntArray, confidence: float = 0.95) -> dict[str, Any]:
    """Cohen's kappa (1960) of two appraisers, comparing trials with the same number.

    Args:
        first: int [parts, trials].
        second: int [parts, trials].
        confidence: of the interval.
    """
    words = np.unique(np.concatenate([first, second]))
    differ = (first != second).mean(axis=1)
    shares = [np.stack([(rated == word).mean(axis=1) for word in words], axis=1) for rated in (first, second)]
    by_chance = 1 - float((shares[0].mean(axis=0) * shares[1].mean(axis=0)).sum())
    # first-order contribution of each part to the expected disagreement
    chance = (1 - shares[0] @ shares[1].mean(axis=0)) + (1 - shares[1] @ shares[0].mean(axis=0)) - 2 * by_chance
    return _kappa(differ, by_chance, chance, confidence)


def fleiss_kappa(ratings: IntArray, confidence: float = 0.95) -> dict[str, Any]:
    """Fleiss' kappa (1971, Psychological Bulletin 76) of all ratings of a part.

    Args:
        ratings: int [parts, ratings], at least 2 a part.
        confidence: of the interval.
    """
    words = np.unique(ratings)
    n = ratings.shape[1]
    counts = np.stack([(ratings == word).sum(axis=1) for word in words], axis=1)
    differ = 1 - (counts * (counts - 1)).sum(axis=1) / (n * (n - 1))
    fraction = counts / n
    mean = fraction.mean(axis=0)
    by_chance = 1 - float((mean**2).sum())
    return _kappa(differ, by_chance, 2 * (1 - fraction @ mean) - 2 * by_chance, confidence)


def _kappa(
    differ: npt.NDArray[np.float64], by_chance: float, chance_of: npt.NDArray[np.float64], confidence: float
) -> dict[str, Any]:
    """Kappa = 1 - disagreement / disagreement by chance, with an interval that is also valid near 1.

    The interval is the Beta interval (near Jeffreys') of the disagreement as a proportion, of as many parts as give it
    the variance that kappa has over parts; of few parts that variance is averaged with that of independent
    disagreements, and the larger one counts.
    """
    from scipy.special import betaincinv

    n, observed = len(differ), float(differ.mean())
    if by_chance <= 0:  # all ratings are equal: kappa is undefined
        return {"value": None, "low": None, "high": None, "n": n}
    kappa = 1 - observed / by_chance
    influence = differ - observed - (1 - kappa) * chance_of
    odds = observed * (1 - observed)
    variance = float((influence**2).sum()) / max(1, n - 1) / n
    spread = max(variance, (n * variance + _PRIOR * odds / n) / (n + _PRIOR))
    alone = odds / spread if odds > 0 and spread > 0 else float(n)
    a, b, tail = observed * alone + _BETA, (1 - observed) * alone + _BETA, (1 - confidence) / 2
    low, high = float(betaincinv(a, b, tail)), float(betaincinv(a, b, 1 - tail))
    ends = (max(-1.0, 1 - high / by_chance), 1 - low / by_chance)
    return {"value": kappa, "low": min(kappa, ends[0]), "high": max(kappa, ends[1]), "n": n}


def _rate(hit: npt.NDArray[np.bool_], confidence: float) -> dict[str, Any]:
    low, high = wilson(int(hit.sum()), len(hit), confidence)
    return {"value": float(hit.mean()), "low": low, "high": high, "n": len(hit)}


def _chances(wrong: npt.NDArray[np.bool_], confidence: float) -> dict[str, Any]:
    """A rate over all trials; repeated trials are not further parts, so the interval is that of the parts."""
    if not wrong.size:
        return {"value": None, "low": None, "high": None, "n": 0}
    parts = len(wrong)
    low, high = wilson(float(wrong.mean()) * parts, parts, confidence)
    return {"value": float(wrong.mean()), "low": low, "high": high, "n": int(wrong.size)}


def graded(value: float | None, limits: Sequence[float], more_is_better: bool) -> str:
    """Grade a value as acceptable, marginal or unacceptable by two limits.

    >>> graded(0.85, [0.9, 0.8], more_is_better=True)
    'marginal'
    >>> graded(0.06, [0.02, 0.05], more_is_better=False)
    'unacceptable'
    """
    if value is None or math.isnan(value):
        return "unknown"
    good, poor = limits
    if (value >= good) if more_is_better else (value <= good):
        return "acceptable"
    return "marginal" if ((value >= poor) if more_is_better else (value <= poor)) else "unacceptable"


def grades(analysis: Mapping[str, Any], limits: Mapping[str, Sequence[float]]) -> dict[str, dict[str, str]]:
    """Grade each appraiser by each limit; kappa is graded against the reference."""
    by_limit = {key: analysis.get("kappa_reference" if key == "kappa" else key, {}) for key in limits}
    return {
        key: {name: graded(one["value"], two, key in RISING) for name, one in by_limit[key].items()}
        for key, two in limits.items()
        if by_limit[key]
    }
