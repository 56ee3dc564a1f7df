"""Compute a run's logits on labelled photos."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qc_lightning.core.bars import Progress
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.errors import UserError
from qc_lightning.data.checks.dataset_checks import join_identical
from qc_lightning.data.photo import Photo
from qc_lightning.evaluation.evaluation_set import EvaluationSet, verified
from qc_lightning.inference.inspection import CameraPhoto
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.stream import Stream
from qc_lightning.metrics.decision import Decision, probabilities
from qc_lightning.metrics.parts import PartTracker, View
from qc_lightning.metrics.verdict import Verdict


@dataclass(frozen=True)
class Scored:
    """Labelled photos with a run's logits.

    Attributes:
        photos: the readable photos, with `sha256`.
        logit: float32 [n].
        novelty: float64 [n], how unlike the training photos each is; None if the run does not measure it.
        bad: path and reason of the others.
        notes: messages about the photos for a person.
    """

    photos: list[Photo]
    logit: Tensor
    novelty: npt.NDArray[np.float64] | None
    bad: list[tuple[Path, str]]
    notes: list[str]

    def only(self, paths: set[Path]) -> "Scored":
        """The photos among `paths`."""
        kept = [index for index, photo in enumerate(self.photos) if photo.path in paths]
        novelty = None if self.novelty is None else self.novelty[kept]
        return replace(self, photos=[self.photos[index] for index in kept], logit=self.logit[kept], novelty=novelty)


def parts_csv(scored: Scored, decision: Decision, class_names: tuple[str, str]) -> str:
    """One row per part, whose worst photo decides: part,label,verdict,worst,probability,photos."""
    probability = probabilities(scored.logit)
    verdicts = decision.verdicts(probability, scored.novelty)
    label: dict[str, int] = {}
    tracker = PartTracker()
    for photo, p, verdict in zip(scored.photos, probability.tolist(), verdicts.tolist(), strict=True):
        label[photo.group] = max(photo.label, label.get(photo.group, 0))
        tracker.add(photo.group, str(photo.path), View(Verdict(verdict), p), 0.0)
    lines = [
        (part.part, class_names[label[part.part]], part.verdict, part.worst, part.probability, part.photos)
        for part in tracker.every()
    ]
    return csv_text(("part", "label", "verdict", "worst", "probability", "photos"), lines)


def score(inspector: Inspector, labelled: EvaluationSet, batch_size: int) -> Scored:
    """Decode the photos and run the network.

    Args:
        inspector: the model.
        labelled: the photos.
        batch_size: the training's, for the logits that the training got: a logit's last bits can depend on the batch.

    Raises:
        UserError: a photo is not the one that is on record, one of the run's own cannot be read, or none of the others.
    """
    photos: list[Photo] = []
    logits: list[float] = []
    distances: list[float] = []
    bad: list[tuple[Path, str]] = []
    left = iter(labelled.photos)
    with (
        Stream(inspector, batch_size, exact=True) as stream,
        Progress(desc="evaluating", total=len(labelled.photos), unit="photo", delay=1.0) as bar,
    ):
        for batch in stream.inspect(map(CameraPhoto.of, labelled.photos)):
            for inspection, photo in zip(batch, left, strict=False):
                error = inspection.error if inspection.logit is None else ""
                checked = verified(photo, inspection.sha256, error, labelled.own)
                if inspection.logit is None:
                    bad.append((photo.path, inspection.error))
                else:
                    photos.append(checked)
                    logits.append(inspection.logit)
                    distances += [] if inspection.novelty is None else [inspection.novelty]
            bar.update(len(batch))
    if not photos:
        raise UserError(f"none of the {len(bad)} photos of {labelled.origin} can be read: {bad[0][0]} ({bad[0][1]})")
    notes = [*labelled.notes]
    if not labelled.own:  # copies of a photo are one part; a run's own are grouped by its split.csv
        photos, copies = join_identical(photos)
        notes += copies
    novelty = np.array(distances) if distances else None
    return Scored(photos, torch.tensor(logits, dtype=torch.float32), novelty, bad, notes)
