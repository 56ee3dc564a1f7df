"""Write a run's results from the logits of the finished training: decision, metrics, predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qc_lightning.config import DecisionConfig, TrainConfig
from qc_lightning.config.presets import augmentations
from qc_lightning.core.atomic import write_json, write_text
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.run import Run
from qc_lightning.core.timing import Timing
from qc_lightning.data.augment import augment, mixup
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.decode import scaled, unscaled
from qc_lightning.data.photo import Photo
from qc_lightning.evaluation.measure import SubsetLogits, calibration_of, measure, predictions_csv, versions
from qc_lightning.inference.checkpoint import complete_checkpoint
from qc_lightning.metrics.certificate import parts_needed
from qc_lightning.metrics.compute import finite
from qc_lightning.metrics.decision import Decision, probabilities
from qc_lightning.metrics.go_live import in_words
from qc_lightning.metrics.kinds import in_words as kinds_in_words
from qc_lightning.metrics.record import DecisionFile
from qc_lightning.metrics.rules import choose_decision
from qc_lightning.metrics.table import table
from qc_lightning.report.card import model_card
from qc_lightning.training.classifier import Classifier
from qc_lightning.training.closed_form import ClosedFormClassifier
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
    """
    classes, logits = config.data.classes.names, module.logits
    distances, state = None, None
    if novelty is not None:
        decision = replace(decision, novelty=novelty.limit)
        distances, state = novelty.distances, novelty.novelty.state_dict()
    metrics = measure(logits, photos.photos, decision, config.decision, classes, distances)
    if novelty is not None:
        metrics["novelty"] = novelty.summary(logits["test"].position.numpy() if "test" in logits else np.zeros(0, int))
    if isinstance(module, ClosedFormClassifier) and module.head_record is not None:
        metrics["head"] = module.head_record
        if platt := module.head_record.get("platt"):
            metrics["calibration"] = calibration_of(logits, photos.photos, platt)
    if not finished:
        metrics["warnings"].insert(0, f"Interrupted: the test part is still unseen; continue with resume={run.folder}")
    correct, incorrect = photos.counts()["train"]
    if not incorrect:
        metrics["warnings"].insert(0, _good_only(correct, classes))
    elif decision.source.startswith("even: rests on only"):
        metrics["warnings"].insert(0, f"Threshold: {decision.source.removeprefix('even: ')}.")
    metrics["warnings"] += photos.notes
    if photos.bad:
        metrics["warnings"].append(f"{len(photos.bad)} files could not be read and were left out: see bad_files.csv.")
        write_text(run.folder / "bad_files.csv", csv_text(("path", "reason"), photos.bad))
    metrics |= {"positive_class": classes[1], "seed": config.seed, "versions": versions()}
    metrics["model_id"] = complete_checkpoint(run.best, photos.decode, decision, classes, state)
    timing.done("score")
    chosen_on = f"{len(logits['val'][0])} validation photos" if "val" in logits else "none"
    rule = decision.source.partition(":")[0]
    DecisionFile.first(metrics["model_id"], decision, rule, "none" if rule == "fixed" else chosen_on).write(
        run.decisions
    )
    if "val" in logits:
        text = predictions_csv(logits, photos.photos, decision, classes, "val")
        write_text(run.validation, text)
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
    print(f"\n{table(metrics, classes)}\n")
    if kinds := (metrics.get("test") or {}).get("kinds"):
        print("\n".join(["escapes by kind of defect", *kinds_in_words(kinds), ""]))
    if "go_live" in metrics:
        print("\n".join(["can it go live?", *in_words(metrics["go_live"], classes), ""]))
    for warning in metrics["warnings"]:
        print(f"WARNING: {warning}")
    print(f"run: {run.folder}")
    return metrics


def _good_only(photos: int, classes: tuple[str, str]) -> str:
    return (
        f"Trained on {photos:,} {classes[0]} photos alone: it rejects what looks unlike them, and which defects that "
        f"finds is unknown. A few {classes[1]} photos to learn from make it better; {parts_needed(0.05)} {classes[1]} "
        "test parts without an escape show an escape rate of 5%."
    )


def draw(run: Run, config: TrainConfig, photos: PhotoSet, metrics: dict[str, Any]) -> None:
    """Write figures/: learning curves, confusion matrix, a sheet of augmented training photos."""
    from qc_lightning.report import charts as plots

    plots.save(plots.learning_curves(run.read_history()), run.pictures / "learning_curves.png")
    part = metrics.get("test") or metrics["train"]
    plots.save(plots.confusion_matrix(part, config.data.classes.names), run.pictures / "confusion_matrix.png")
    shown = photos.indices("train")[:: max(1, len(photos.indices("train")) // 8)][:8]
    torch.manual_seed(config.seed)
    pixels = scaled(torch.from_numpy(photos.pixels(shown)))
    changed = [unscaled(augment(pixels, config.augment)).numpy() for _ in range(3)]
    captions = ["as decoded"] * len(shown) + ["augmented"] * 3 * len(shown)
    sheet = np.concatenate([photos.pixels(shown), *changed])
    plots.save(plots.contact_sheet(sheet, captions), run.pictures / "augmentation.png")
    if config.augment.probe:
        plots.save(plots.contact_sheet(*probe(config, photos)), run.pictures / "augment_probe.png")


def probe(config: TrainConfig, photos: PhotoSet) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Apply each augmentation to three Incorrect training photos: pictures uint8 [n, 3, H, W] and captions.

    Each row is one photo under one policy: as it is, then seven draws.
    """
    train = photos.indices("train")
    bad = train[photos.labels[train] == 1]
    images = photos.pixels(bad[:: max(1, len(bad) // 3)][:3])
    pictures, captions = [], []
    for name, policy in {"chosen": config.augment, **augmentations()}.items():
        torch.manual_seed(config.seed)
        for photo in images:
            image = scaled(torch.from_numpy(photo))[None].expand(7, -1, -1, -1)
            changed = augment(image, policy)
            if policy.mixup:
                changed = mixup(changed, torch.ones(7), policy.mixup)[0]
            pictures += [photo[None], unscaled(changed).numpy()]
            captions += ["as decoded", *[name] * 7]
    return np.concatenate(pictures), captions
