"""Write a run's results from the logits of the finished training: decision, metrics, predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qc_lightning.config import DecisionConfig, TrainConfig
from qc_lightning.core.atomic import write_json, write_text
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.run import Run
from qc_lightning.core.timing import Timing
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.photo import Photo
from qc_lightning.evaluation.measure import SubsetLogits, calibration_of, measure, predictions_csv, versions
from qc_lightning.inference.checkpoint import complete_checkpoint
from qc_lightning.metrics.certificate import parts_needed
from qc_lightning.metrics.compute import finite
from qc_lightning.metrics.decision import Decision, probabilities
from qc_lightning.metrics.record import DecisionFile
from qc_lightning.metrics.rules import choose_decision
from qc_lightning.metrics.table import in_words
from qc_lightning.report.card import model_card
from qc_lightning.training.classifier import Classifier
from qc_lightning.training.closed_form import ClosedFormClassifier
from qc_lightning.training.figures import draw
from qc_lightning.training.novelty import NoveltyFit


def decide(logits: Mapping[str, SubsetLogits], photos: Sequence[Photo], config: DecisionConfig) -> Decision:
    """Choose the decision; rules that use photos use only the validation part."""
    index, logit = logits.get("val", (torch.empty(0, dtype=torch.int64), torch.empty(0)))
    label = [photos[i].label for i in index]
    return choose_decision(probabilities(logit), label, config)


def positions_of(logits: Mapping[str, SubsetLogits]) -> npt.NDArray[np.int64]:
    """Positions of all photos that have logits, sorted."""
    return np.unique(torch.cat([subset.position for subset in logits.values()]).numpy())


def write(
    run: Run,
    config: TrainConfig,
    photos: PhotoSet,
    module: Classifier,
    decision: Decision,
    novelty: NoveltyFit | None,
    timing: Timing,
    finished: bool = True,
) -> dict[str, Any]:
    """Write decision.json, metrics.json, predictions.csv, the figures and the report; print the table.

    Args:
        run: where to.
        config: of the run.
        photos: what it was trained on.
        module: trained, with the logits of each subset; without `test` when the training was interrupted.
        decision: chosen on the validation part, before the test part was evaluated.
        novelty: how unlike the training photos all photos are; None if that is not measured.
        timing: the command's stages so far.
        finished: False after Ctrl-C.

    Returns:
        The content of metrics.json.
    """
    classes, logits = config.data.classes.names, module.logits
    distances, state = None, None
    if novelty is not None:
        decision = replace(decision, novelty=novelty.limit)
        distances, state = novelty.distances, novelty.novelty.state_dict()
    metrics = _metrics(config, photos, module, decision, novelty)
    metrics["warnings"] = _warnings(run, photos, decision, classes, finished, metrics["warnings"])
    if photos.bad:
        write_text(run.folder / "bad_files.csv", csv_text(("path", "reason"), photos.bad))
    metrics["model_id"] = complete_checkpoint(run.best, photos.decode, decision, classes, state)
    timing.done("score")
    metrics["warnings"] += _write_decision(run, decision, metrics["model_id"], logits)
    if "val" in logits:
        write_text(run.validation, predictions_csv(logits, photos.photos, decision, classes, "val"))
    if "test" in logits:
        text = predictions_csv(logits, photos.photos, decision, classes, novelty=distances)
        write_text(run.folder / "predictions.csv", text)
    else:  # those of the model that the run had before it was resumed and interrupted
        (run.folder / "predictions.csv").unlink(missing_ok=True)
    write_text(run.folder / "model_card.md", model_card(config, photos.decode, photos.counts(), metrics, decision))
    metrics["timing_s"] = timing.seconds
    write_json(run.metrics, finite(metrics))
    if config.report:
        from qc_lightning.report.page import write_report

        draw(run, config, photos, metrics)
        write_report(run.folder)
        timing.done("report")
        write_json(run.metrics, finite(metrics))
    print("\n".join(["", *in_words(metrics, classes), *(f"WARNING: {warning}" for warning in metrics["warnings"])]))
    print(f"run: {run.folder}")
    return metrics


def _metrics(
    config: TrainConfig, photos: PhotoSet, module: Classifier, decision: Decision, novelty: NoveltyFit | None
) -> dict[str, Any]:
    """Content of metrics.json without model id and times, and with the warnings of `measure` only."""
    classes, logits = config.data.classes.names, module.logits
    distances = None if novelty is None else novelty.distances
    metrics = measure(logits, photos.photos, decision, config.decision, classes, distances)
    if novelty is not None:
        metrics["novelty"] = novelty.summary(logits["test"].position.numpy() if "test" in logits else np.zeros(0, int))
    if isinstance(module, ClosedFormClassifier) and module.head_record is not None:
        metrics["head"] = module.head_record
        if platt := module.head_record.get("platt"):
            metrics["calibration"] = calibration_of(logits, photos.photos, platt)
    return metrics | {"positive_class": classes[1], "seed": config.seed, "versions": versions()}


def _warnings(
    run: Run, photos: PhotoSet, decision: Decision, classes: tuple[str, str], finished: bool, measured: Sequence[str]
) -> list[str]:
    """All warnings of a run, those that limit the meaning of the others first; `measured` are those of `measure`."""
    warnings = []
    correct, incorrect = photos.counts()["train"]
    if not incorrect:
        warnings.append(_good_only(correct, classes))
    elif decision.source.startswith("even: rests on only"):
        warnings.append(f"Threshold: {decision.source.removeprefix('even: ')}.")
    if not finished:
        warnings.append(f"Interrupted: the test part is still unseen; continue with resume={run.folder}")
    warnings += [*measured, *photos.notes]
    if photos.bad:
        warnings.append(f"{len(photos.bad)} files could not be read and were left out: see bad_files.csv.")
    return warnings


def _good_only(photos: int, classes: tuple[str, str]) -> str:
    return (
        f"Trained on {photos:,} {classes[0]} photos alone: it rejects what looks unlike them, and which defects that "
        f"finds is unknown. A few {classes[1]} photos to learn from make it better; {parts_needed(0.05)} {classes[1]} "
        "test parts without an escape show an escape rate of 5%."
    )


def _write_decision(run: Run, decision: Decision, model_id: str, logits: Mapping[str, SubsetLogits]) -> list[str]:
    """Write decision.json; returns a warning if people had decided on the model before a resumed training."""
    rule = decision.source.partition(":")[0]
    chosen = rule != "fixed" and "val" in logits
    chosen_on = f"{len(logits['val'].position)} validation photos" if chosen else "none"
    replaced = DecisionFile.write_of_training(run.decisions, model_id, decision, rule, chosen_on)
    if not replaced:
        return []
    return [f"Decisions on the model before this training are gone ({replaced}): decide or certify again."]
