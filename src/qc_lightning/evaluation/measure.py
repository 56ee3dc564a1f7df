"""Compute metrics.json and predictions.csv from the logits of each subset."""

import contextlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qc_lightning.config.decisions import DecisionConfig
from qc_lightning.core.csv_files import csv_text
from qc_lightning.data.photo import SUBSETS, Photo
from qc_lightning.metrics.calibration import calibration, uncalibrated
from qc_lightning.metrics.compute import evaluate
from qc_lightning.metrics.decision import Decision, probabilities
from qc_lightning.metrics.go_live import go_live
from qc_lightning.metrics.kinds import by_kind
from qc_lightning.metrics.wording import warnings_for


class SubsetLogits(NamedTuple):
    """The network's answers on the photos of one subset.

    Attributes:
        position: int64 [n], index of each photo in the dataset.
        logit: float32 [n], on the CPU; P(Incorrect) is its sigmoid.
    """

    position: Tensor
    logit: Tensor


def measure(
    logits: Mapping[str, SubsetLogits],
    photos: Sequence[Photo],
    decision: Decision,
    target: DecisionConfig,
    classes: tuple[str, str],
    novelty: npt.NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Compute the metrics of every subset, warnings, and the go-live answer, for metrics.json.

    Args:
        logits: of each subset.
        photos: the dataset.
        decision: the rule for verdicts.
        target: the rates to keep, and the line's share of bad parts.
        classes: the user's names for Correct and Incorrect.
        novelty: float64 [photos], how unlike the training photos each is; None: not measured.
    """
    metrics: dict[str, Any] = {}
    for subset in SUBSETS:
        if subset in logits:
            index, logit = logits[subset]
            selected = [photos[i] for i in index]
            label = np.array([photo.label for photo in selected])
            group, kind = [photo.group for photo in selected], [photo.kind for photo in selected]
            distance = None if novelty is None else novelty[index.numpy()]
            metrics[subset] = evaluate(probabilities(logit), logit.numpy(), label, group, decision, distance)
            if kinds := by_kind(decision.verdicts(probabilities(logit), distance), label, group, kind):
                metrics[subset]["kinds"] = kinds
            if subset == "test":
                verdicts = decision.verdicts(probabilities(logit), distance)
                metrics["go_live"] = go_live(verdicts, label, group, target)
    if "val" in logits and "train" in logits and torch.equal(logits["val"].position, logits["train"].position):
        metrics["val"]["out_of_fold"] = True
    metrics["warnings"] = warnings_for(metrics, classes)
    metrics["threshold"] = decision.threshold
    return metrics


def calibration_of(
    logits: Mapping[str, SubsetLogits], photos: Sequence[Photo], platt: Mapping[str, float]
) -> dict[str, Any]:
    """Brier score and log loss before and after Platt scaling, for metrics.json.

    Args:
        logits: of each subset; without a validation part "val" holds the out-of-fold scores that it was fitted to.
        photos: the dataset.
        platt: "slope" and "offset".
    """
    comparison: dict[str, Any] = {}
    for subset in ("val", "test"):
        if subset in logits:
            logit = logits[subset].logit.numpy()
            label = [photos[i].label for i in logits[subset].position]
            before = calibration(uncalibrated(logit, platt), label)
            comparison[subset] = {"before": before, "after": calibration(logit, label)}
    return comparison


def predictions_csv(
    logits: Mapping[str, SubsetLogits],
    photos: Sequence[Photo],
    decision: Decision,
    class_names: tuple[str, str],
    subset: str = "test",
    novelty: npt.NDArray[np.float64] | None = None,
) -> str:
    """predictions.csv as text: path,label,probability,verdict,novelty of each photo of one subset.

    Args:
        logits: logits of each subset.
        photos: all photos of the dataset.
        decision: the rule for verdicts.
        class_names: the user's names for Correct and Incorrect.
        subset: the subset to list, one of `logits`.
        novelty: of all photos, float [n]; None: not measured, an empty column.
    """
    index, logit = logits[subset]
    probability = probabilities(logit)
    selected = [photos[i] for i in index]
    distance = None if novelty is None else novelty[index.numpy()]
    verdicts = decision.verdicts(probability, distance)
    listed = [None] * len(selected) if distance is None else distance.tolist()
    lines = [
        (photo.path, class_names[photo.label], repr(float(p)), verdict, "" if n is None else repr(n))
        for photo, p, verdict, n in zip(selected, probability, verdicts, listed, strict=True)
    ]
    return csv_text(("path", "label", "probability", "verdict", "novelty"), lines)


def versions() -> dict[str, str]:
    """Versions of the libraries that metrics can depend on."""
    packages = ("qc-lightning", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "pillow")
    releases = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            releases[package] = version(package)
    return releases
