"""Data of the report's charts: the effect of every threshold, and the distribution of probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qc_lightning.metrics.calibration import shifted, uncalibrated
from qc_lightning.metrics.intervals import proportion, wilson

_MOST_POINTS = 1000
_GRID = np.arange(1, 100) / 100


def sweep(
    probability: npt.NDArray[np.float64],
    bad: npt.NDArray[np.bool_],
    group: npt.NDArray[np.intp],
    threshold: float,
) -> dict[str, list[Any]]:
    """Escapes and overkills at thresholds from 0 (reject all) to 1, with 95% intervals of their rates.

    The thresholds are 0, 1, every hundredth, the run's own, and one between any two neighbouring scores, so that each
    count that some threshold can give is there. Of more than 1,000 scores, as many by rank in either class. Each is
    the shortest decimal that does, so that a threshold can be shown and typed in full.

    Args:
        probability: float [n] in [0, 1].
        bad: bool [n], True for Incorrect.
        group: int [n], 0 <= group; the intervals allow for photos of one group being alike.
        threshold: the run's own, in [0, 1].

    Returns:
        Columns of equal length, by rising "threshold": "escapes" and "overkills" (counts), "escape_low",
        "escape_high", "overkill_low", "overkill_high" (0 to 1), and "run" (True at the run's own threshold).
    """
    distinct = np.unique(probability)
    if len(distinct) > _MOST_POINTS:
        quantiles = np.linspace(0, 1, _MOST_POINTS // 2)
        parts = [np.quantile(p, quantiles, method="nearest") for p in (probability[bad], probability[~bad]) if len(p)]
        distinct = np.unique(np.concatenate(parts))
    cuts = np.unique(np.concatenate([_GRID, _between(distinct[:-1], distinct[1:]), [0.0, 1.0, threshold]]))
    columns: dict[str, list[Any]] = {"threshold": cuts.tolist(), "run": (cuts == threshold).tolist()}
    for name, plural, wrong_above, of_class in (
        ("escape", "escapes", False, bad),
        ("overkill", "overkills", True, ~bad),
    ):
        p = probability[of_class]
        unit = group[of_class] if len(np.unique(group[of_class])) < len(p) else None
        below = np.searchsorted(np.sort(p), cuts, side="left")
        counts = (len(p) - below if wrong_above else below).tolist()
        bounds: dict[int, tuple[float, float]] = {}
        for cut, count in zip(cuts, counts, strict=True):
            if count not in bounds:  # thresholds between the same two photos share their interval
                bounds[count] = proportion((p >= cut) == wrong_above, unit)
        columns[plural] = counts
        columns[f"{name}_low"] = [round(bounds[count][0], 6) for count in counts]
        columns[f"{name}_high"] = [round(bounds[count][1], 6) for count in counts]
    return columns


def _between(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The middle of each gap, rounded to the fewest decimals that keep it inside."""
    middle = (low + high) / 2
    cuts = np.where(middle > low, middle, high)
    for decimals in range(16, 1, -1):
        rounded = np.round(middle, decimals)
        cuts = np.where((rounded > low) & (rounded < high), rounded, cuts)
    return cuts


def histogram(probability: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """Counts of "correct" and "incorrect" photos in 20 equal bins of probability from 0 to 1."""
    edges = np.linspace(0, 1, 21)
    return {
        "correct": np.histogram(probability[~bad], edges)[0].tolist(),
        "incorrect": np.histogram(probability[bad], edges)[0].tolist(),
    }


def reliability_of(
    probability: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_], platt: Mapping[str, float] | None
) -> dict[str, list[dict[str, float]]]:
    """Reliability diagram, before and after Platt scaling if there was one.

    Calibrated probabilities are at even odds; they are compared after a shift to the share of Incorrect photos here.

    Args:
        probability: float [n], P(Incorrect).
        bad: bool [n], Incorrect.
        platt: "slope" and "offset"; None: not calibrated.

    Returns:
        "reliability", the result of `reliability`, and with `platt` "reliability_before".
    """
    if platt is None:
        return {"reliability": reliability(probability, bad)}
    bad_fraction, inside = float(bad.mean()), np.clip(probability, 1e-15, 1 - 1e-15)
    before = 1 / (1 + np.exp(-uncalibrated(np.log(inside / (1 - inside)), platt)))
    return {
        name: reliability(shifted(p, bad_fraction), bad)
        for name, p in (("reliability", probability), ("reliability_before", before))
    }


def reliability(probability: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
    """Reliability diagram: one point for each tenth of probability that contains photos.

    Returns:
        Per bin "n", "said" (mean probability), "true" (fraction Incorrect) and its 95% interval "low", "high".
    """
    place = np.minimum((probability * 10).astype(np.int64), 9)
    points = []
    for bin_ in np.unique(place):
        p, hits = probability[place == bin_], int(bad[place == bin_].sum())
        low, high = wilson(hits, len(p))
        points.append({"n": len(p), "said": float(p.mean()), "true": hits / len(p), "low": low, "high": high})
    return points
