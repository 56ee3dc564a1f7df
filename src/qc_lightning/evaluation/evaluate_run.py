"""Evaluate a run's logits on labelled photos, and compare two runs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from qc_lightning.config.record import RunRecord
from qc_lightning.core.atomic import read_json, unfinished_folder, write_json, write_text
from qc_lightning.core.claim import place_folder
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.run import Run
from qc_lightning.evaluation.evaluation_set import EvaluationSet, trained_on
from qc_lightning.evaluation.measure import SubsetLogits, measure, predictions_csv, versions
from qc_lightning.evaluation.score import Scored, parts_csv
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.validity import certificate_line
from qc_lightning.metrics.batch import unlike_training
from qc_lightning.metrics.comparison import compare
from qc_lightning.metrics.compute import FIGURES, finite
from qc_lightning.metrics.decision import probabilities
from qc_lightning.metrics.record import DecisionFile
from qc_lightning.metrics.table import in_words as metrics_in_words

_ROUNDING = 1e-5  # on a GPU a logit's last bits depend on the photos that come with it; one verdict is more


def evaluate_run(run: Run, inspector: Inspector, labelled: EvaluationSet, scored: Scored) -> dict[str, Any]:
    """Compute the metrics for an evaluation's metrics.json, with warnings.

    Args:
        run: the evaluated run.
        inspector: its model.
        labelled: the photos.
        scored: their logits.
    """
    everything = {labelled.subset: SubsetLogits(torch.arange(len(scored.photos)), scored.logit)}
    target, names = RunRecord.read(run).training.decision, inspector.class_names
    metrics = measure(everything, scored.photos, inspector.decision, target, names, scored.novelty)
    metrics["warnings"] += scored.notes
    if not labelled.own and (seen := trained_on(run, scored.photos)):
        metrics["warnings"].append(f"{seen} of these photos were used to train {run.folder}: its figures are too good.")
    certificate = DecisionFile.read(run.decisions, inspector.model_id, inspector.decision).named(run).certificate or {}
    chose = {photo["sha256"] for photo in certificate.get("photos", [])}
    if seen := sum(photo.sha256 in chose for photo in scored.photos):
        metrics["warnings"].append(f"{seen} of these photos chose the threshold (certify): its figures are too good.")
    if not labelled.own and scored.novelty is not None and (why := unlike_training(run, scored.novelty.tolist())):
        metrics["warnings"].append(why)
    if scored.bad:
        metrics["warnings"].append(f"{len(scored.bad)} files could not be read and were left out: see bad_files.csv.")
    return metrics | {
        "run": str(run.folder),
        "model_id": inspector.model_id,
        "photos": labelled.origin,
        "positive_class": inspector.class_names[1],
        "versions": versions(),
    }


def write_evaluation(
    folder: Path, named: bool, inspector: Inspector, labelled: EvaluationSet, scored: Scored, metrics: dict[str, Any]
) -> Path:
    """Write the folder of an evaluation, which appears complete or not at all.

    Beside metrics.json it holds predictions.csv, parts.csv if photos share parts, and bad_files.csv if there are any.

    Args:
        folder: its name, of `evaluation_folder`.
        named: whether the user chose the name; else it gets a suffix if it is taken.
        inspector: the model.
        labelled: the photos.
        scored: what the model says of them.
        metrics: content of metrics.json.

    Returns:
        The folder.

    Raises:
        UserError: another evaluation has taken the name.
    """
    everything = {labelled.subset: SubsetLogits(torch.arange(len(scored.photos)), scored.logit)}
    names = inspector.class_names
    text = predictions_csv(everything, scored.photos, inspector.decision, names, labelled.subset, scored.novelty)
    with unfinished_folder(folder.parent) as unfinished:
        write_text(unfinished / "predictions.csv", text)
        if len({photo.group for photo in scored.photos}) < len(scored.photos):
            write_text(unfinished / "parts.csv", parts_csv(scored, inspector.decision, names))
        if scored.bad:
            write_text(unfinished / "bad_files.csv", csv_text(("path", "reason"), scored.bad))
        write_json(unfinished / "metrics.json", finite(metrics))
        return place_folder(unfinished, folder, named, "name=")


def in_words(run: Run, inspector: Inspector, labelled: EvaluationSet, metrics: dict[str, Any]) -> str:
    """The metrics as console text."""
    certified = certificate_line(inspector)
    lines = [*([certified, ""] if certified else []), *metrics_in_words(metrics, inspector.class_names)]
    if labelled.own:
        lines += [same_as_trained(run, metrics, labelled.subset), ""]
    if other := metrics.get("comparison"):
        lines += [f"against {other['against']}, 95% intervals:", *other["in_words"], ""]
    return "\n".join([*lines, *(f"WARNING: {warning}" for warning in metrics["warnings"])])


def same_as_trained(run: Run, metrics: dict[str, Any], subset: str) -> str:
    """Report whether the metrics on a run's own photos equal those of its training."""
    stored = read_json(run.metrics) if run.metrics.is_file() else {}
    if not isinstance(stored.get(subset), dict):
        return f"the training did not measure its {subset} photos"
    before, now = stored[subset], finite(metrics[subset])
    if before == now:
        return "the metrics equal those of the training, to the last digit"
    values = [(before[name]["value"], now[name]["value"]) for name in FIGURES if isinstance(before.get(name), dict)]
    gap = max((abs(a - b) for a, b in values if isinstance(a, float) and b is not None), default=0.0)
    if gap < _ROUNDING:
        return f"the metrics equal those of the training up to rounding, by {gap:.1g}"
    return f"the metrics differ from those of the training by up to {gap:.1g}: another device, precision or release?"


def compare_runs(other: Run, candidate: tuple[Inspector, Scored], baseline: tuple[Inspector, Scored]) -> dict[str, Any]:
    """Compare the run with another on the photos that both could read, for metrics.json.

    Args:
        other: the run to compare with.
        candidate: model and logits of the run.
        baseline: model and logits of `other`.
    """
    readable = {photo.path for photo in candidate[1].photos} & {photo.path for photo in baseline[1].photos}
    common = [scored.only(readable) for _, scored in (candidate, baseline)]
    photos = common[0].photos
    of_candidate, of_baseline = (
        inspector.decision.verdicts(probabilities(scored.logit), scored.novelty)
        for (inspector, _), scored in zip((candidate, baseline), common, strict=True)
    )
    label, group = np.array([photo.label for photo in photos]), [photo.group for photo in photos]
    differences = compare(of_candidate, of_baseline, label, group)
    in_words = [str(difference) for difference in differences.values()]
    if seen := trained_on(other, photos):
        in_words.append(f"BUT {seen} of these photos were used to train {other.folder}: it looks better than it is")
    return {
        "against": str(other.folder),
        "model_id": baseline[0].model_id,
        "n": len(photos),
        "differences": {name: difference.to_dict() for name, difference in differences.items()},
        "in_words": in_words,
    }
