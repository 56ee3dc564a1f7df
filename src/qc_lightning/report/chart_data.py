"""The data of the charts that the report draws itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qc_lightning.metrics import curves


def chart_data(
    predictions: Sequence[dict[str, Any]],
    split: Mapping[str, dict[str, str]],
    incorrect: str,
    threshold: float,
    platt: Mapping[str, float] | None,
) -> dict[str, Any]:
    """The curves of a subset by threshold, its histogram and its reliability, for the charts and their tables.

    Args:
        predictions: rows of predictions.csv, with "p" as a number or None.
        split: rows of split.csv by path, for the groups.
        incorrect: label of the positive class.
        threshold: threshold of the decision.
        platt: "slope" and "offset" of the calibration; None if there is none.

    Returns:
        {"sweep", "histogram", "correct", "incorrect"} and the keys of `curves.reliability_of`.
    """
    # a photo without a finite probability is rejected at every threshold
    p = np.array([1.0 if row["p"] is None else row["p"] for row in predictions])
    bad = np.array([row["label"] == incorrect for row in predictions])
    groups = [split.get(row["path"], {}).get("group") or row["path"] for row in predictions]
    unit = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)[1]
    return {
        "sweep": curves.sweep(p, bad, unit, threshold),
        "histogram": curves.histogram(p, bad),
        **curves.reliability_of(p, bad, platt),
        "correct": int((~bad).sum()),
        "incorrect": int(bad.sum()),
    }


def samples(sweep: Mapping[str, Sequence[Any]] | None) -> list[dict[str, Any]]:
    """The threshold sweep at every tenth and at the run's threshold: the data of the charts as a table."""
    if sweep is None:
        return []
    points = [dict(zip(sweep, values, strict=True)) for values in zip(*sweep.values(), strict=True)]
    return [point for point in points if point["run"] or round(10 * point["threshold"], 9).is_integer()]
