"""The metrics of a subset with their 95% intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.intervals import f1_interval, mean_interval, mean_of, proportion, wilson
from qc_lightning.metrics.ranking import ranking
from qc_lightning.metrics.verdict import Verdict, Verdicts, by_part, escapes, overkills, reviews

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

Units = npt.NDArray[np.int64] | None
"""Number of each photo's group, [n], for intervals; None: all photos are independent."""

# name in metrics.json -> name in tables, in their order
FIGURES = {
    "escape_rate": "escape rate",
    "overkill_rate": "overkill rate",
    "review_rate": "review rate",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "specificity": "specificity",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "loss": "loss",
}


def binary_metrics(threshold: float = 0.5) -> "MetricCollection":
    """Streaming metrics for training and validation steps: update(sigmoid(logit) float32 [n], label int [n]).

    Nothing is checked per step. compute() gives scalars by the names of metrics.json, 0 where a figure is undefined;
    torchmetrics warns when one class is missing. A photo at the threshold is rejected, as in `Decision`.

    Args:
        threshold: in [0, 1].
    """
    from torchmetrics import MetricCollection, classification

    # torchmetrics rejects above its threshold, the line at or above: step to the next float32 below
    reachable = np.float32(threshold)
    if float(reachable) < threshold:
        reachable = np.nextafter(reachable, np.float32(2))
    hard: dict[str, Any] = {"threshold": float(np.nextafter(reachable, np.float32(-1))), "validate_args": False}
    recall, specificity = classification.BinaryRecall(**hard), classification.BinarySpecificity(**hard)
    return MetricCollection(
        {
            "accuracy": classification.BinaryAccuracy(**hard),
            "balanced_accuracy": (recall.clone() + specificity.clone()) / 2,
            "precision": classification.BinaryPrecision(**hard),
            "recall": recall,
            "f1": classification.BinaryF1Score(**hard),
            "specificity": specificity,
            "auroc": classification.BinaryAUROC(validate_args=False),
            "average_precision": classification.BinaryAveragePrecision(validate_args=False),
        }
    )


def evaluate(
    probability: npt.NDArray[np.floating],
    logit: npt.NDArray[np.floating],
    label: npt.NDArray[np.integer],
    group: Sequence[str] | None,
    decision: Decision,
    novelty: npt.NDArray[np.floating] | None = None,
) -> dict[str, Any]:
    """Compute all metrics of one subset for metrics.json.

    Args:
        probability: float [n], P(Incorrect) in [0, 1]; one that is not finite is rejected and leaves AUROC, average
            precision and loss undefined.
        logit: float [n], the network's output for the same photos.
        label: int [n], 1 = Incorrect.
        group: n names; photos of one group count as dependent in every interval. None: all photos are independent.
        decision: the rule for verdicts.
        novelty: float [n], for the decision's limit; None: not measured.

    Returns:
        {"n": n, "confusion_matrix": [[TN, FP], [FN, TP]], "verdicts": {"correct": {verdict: count}, "incorrect": ...},
        figure: {"value", "low", "high"}, ...}; the three are None if the figure is undefined. Escape rate, overkill
        rate and review rate count verdicts; the confusion matrix and what follows from it go by the threshold alone.
        Where photos share groups, "parts" holds the three rates and the verdicts by part.
        Intervals: docs/statistics.md.
    """
    truth: npt.NDArray[np.int64] = np.asarray(label, dtype=np.int64)
    score, z = np.asarray(probability, dtype=np.float64), np.asarray(logit, dtype=np.float64)
    verdicts, bad = decision.verdicts(score, novelty), truth == 1
    rejected = Decision(decision.threshold, "").verdicts(score) == Verdict.REJECT
    n, everything = len(truth), np.ones(len(truth), dtype=bool)
    unit: Units = None
    if group is not None and len(set(group)) < n:
        unit = np.unique(np.asarray(group, dtype=np.str_), return_inverse=True)[1]

    def rate(hit: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> dict[str, float | None]:
        outcomes = hit[among]
        if not len(outcomes):
            return figure(None)
        return figure(int(outcomes.sum()) / len(outcomes), *proportion(outcomes, None if unit is None else unit[among]))

    values = {
        "escape_rate": rate(escapes(verdicts, truth), bad),
        "overkill_rate": rate(overkills(verdicts, truth), ~bad),
        "review_rate": rate(reviews(verdicts), everything),
        "accuracy": rate(rejected == bad, everything),
        "precision": rate(bad, rejected),
        "recall": rate(rejected, bad),
        "specificity": rate(~rejected, ~bad),
    }
    values |= _of_both_classes(rejected, bad, unit) | _of_scores(score, z, bad, unit)
    matrix = [[int((rejected[of_class] == said).sum()) for said in (False, True)] for of_class in (~bad, bad)]
    parts = {} if unit is None else {"parts": part_figures(verdicts, truth, group or ())}
    rates = {name: values[name] for name in FIGURES}
    return {"n": n, **rates, "confusion_matrix": matrix, "verdicts": _counts(verdicts, bad), **parts}


def _of_both_classes(
    rejected: npt.NDArray[np.bool_], bad: npt.NDArray[np.bool_], unit: Units
) -> dict[str, dict[str, float | None]]:
    """F1, and balanced accuracy: the mean of recall and specificity."""
    values = dict.fromkeys(("f1", "balanced_accuracy"), figure(None))
    if bad.any():
        f1 = 2 * int((rejected & bad).sum()) / (int(rejected.sum()) + int(bad.sum()))
        values["f1"] = figure(f1, *f1_interval(rejected, bad, unit))
    if bad.any() and not bad.all():
        sides = (rejected, bad), (~rejected, ~bad)
        recall, specificity = (int((right & of_class).sum()) / int(of_class.sum()) for right, of_class in sides)
        ends = [proportion(right[of_class], None if unit is None else unit[of_class]) for right, of_class in sides]
        values["balanced_accuracy"] = figure((recall + specificity) / 2, *mean_of(recall, specificity, *ends))
    return values


def _of_scores(
    score: npt.NDArray[np.float64], logit: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_], unit: Units
) -> dict[str, dict[str, float | None]]:
    """Loss (binary cross-entropy), and AUROC and average precision if both classes and only finite scores are there."""
    values = dict.fromkeys(("auroc", "average_precision"), figure(None))
    with np.errstate(invalid="ignore"):
        losses = np.logaddexp(0.0, logit) - bad * logit  # without overflow
        values["loss"] = figure(float(losses.mean()) if len(losses) else None, *mean_interval(losses, unit))
    if bad.any() and not bad.all() and np.isfinite(score).all():
        ranked = ranking(score, bad, unit)
        values["auroc"] = figure(ranked.auroc, *ranked.auroc_interval)
        values["average_precision"] = figure(ranked.average_precision, *ranked.average_precision_interval)
    return values


def part_figures(verdicts: Verdicts, label: npt.NDArray[np.integer], part: Sequence[str]) -> dict[str, Any]:
    """Rates by part, whose worst photo decides, with Wilson intervals.

    Args:
        verdicts: [n].
        label: int [n], 1 = Incorrect; a part is Incorrect when any of its photos is.
        part: n names.
    """
    worst, bad, names = by_part(verdicts, label, part)

    def rate(hit: npt.NDArray[np.bool_]) -> dict[str, float | None]:
        return figure(float(hit.mean()), *wilson(int(hit.sum()), len(hit))) if len(hit) else figure(None)

    return {
        "n": len(names),
        "escape_rate": rate(escapes(worst, bad)[bad]),
        "overkill_rate": rate(overkills(worst, bad)[~bad]),
        "review_rate": rate(reviews(worst)),
        "verdicts": _counts(worst, bad),
    }


def _counts(verdicts: Verdicts, bad: npt.NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    of_class = {"correct": verdicts[~bad], "incorrect": verdicts[bad]}
    return {
        name: {str(verdict): int((given == verdict).sum()) for verdict in Verdict} for name, given in of_class.items()
    }


def figure(value: float | None, low: float = math.nan, high: float = math.nan) -> dict[str, float | None]:
    """One entry of metrics.json."""
    if value is None or not math.isfinite(value):
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": min(value, low), "high": max(value, high)}


def finite(obj: Any) -> Any:
    """A copy for JSON: nested dicts and lists, numpy scalars as plain numbers, nan and infinity as None."""
    if isinstance(obj, Mapping):
        return {str(key): finite(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple | np.ndarray):
        return [finite(value) for value in obj]
    if isinstance(obj, np.generic):
        obj = obj.item()
    return None if isinstance(obj, float) and not math.isfinite(obj) else obj
