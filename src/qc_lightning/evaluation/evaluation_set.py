"""Labelled photos to evaluate a run on: its own or others."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from qc_lightning.config import AnyData, ClassNames, OtherPhotosConfig
from qc_lightning.config.record import RunRecord
from qc_lightning.core.csv_files import read_table
from qc_lightning.core.errors import UserError
from qc_lightning.core.room import check_room
from qc_lightning.core.run import Run
from qc_lightning.data.catalog import read_catalog
from qc_lightning.data.photo import SUBSETS, Photo


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled photos for an evaluation.

    Attributes:
        photos: in the order in which they are scored.
        subset: of the run, or `test` for other photos: they stand in its place.
        origin: where they come from, in words.
        own: whether they are the run's own, listed in its split.csv.
        notes: what was left out.
    """

    photos: list[Photo]
    subset: str
    origin: str
    own: bool
    notes: list[str] = field(default_factory=list)


def trained_with(run: Run) -> AnyData:
    """The data settings of a training.

    Raises:
        UserError: its record is missing, damaged or of another release.
    """
    return RunRecord.read(run).data


def evaluation_folder(run: Run, name: str | None) -> Path:
    """Folder of an evaluation: `<run>/evaluations/<name>`, by default the time; not created yet.

    Raises:
        UserError: it already exists, or nothing can be written there.
    """
    folder = run.folder / "evaluations" / (name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    if folder.exists():
        raise UserError(f"{folder} already exists: give another name=")
    check_room(run.folder)
    return folder


def own_photos(run: Run, subset: str) -> EvaluationSet:
    """List the photos of one subset of the run.

    Raises:
        UserError: there are none.
    """
    photos = [photo for photo in split_photos(run, trained_with(run).classes.names) if photo.subset == subset]
    if not photos:
        raise UserError(f"subset={subset}: {run.split} lists no such photos")
    return EvaluationSet(photos, subset, f"its own {subset} photos", own=True)


def labelled_photos(run: Run, other: OtherPhotosConfig, subset: str | None = None) -> EvaluationSet:
    """List the photos that `other` names, or a subset of the run's own.

    Raises:
        UserError: they cannot be used.
    """
    data = trained_with(run)
    if other.root is None and other.manifest is None:
        return own_photos(run, subset or "test")
    classes = ClassNames(
        correct=other.classes.correct or data.classes.correct,
        incorrect=other.classes.incorrect or data.classes.incorrect,
    )
    group = other.group or ("none" if data.group == "module" else data.group)
    data = data.of_folder(root=other.root, manifest=other.manifest, classes=classes, group=group)
    photos, notes = read_catalog(data, one_class=True)
    return EvaluationSet(photos, "test", str(other.manifest or other.root), own=False, notes=notes)


def trained_on(run: Run, photos: Iterable[Photo]) -> int:
    """Number of photos, by their bytes, that a run used for training or for choosing checkpoint and threshold."""
    learnt = {photo.sha256 for photo in split_photos(run) if photo.subset != "test"}
    return sum(photo.sha256 in learnt for photo in photos)


def verified(photo: Photo, sha256: str, error: str, own: bool) -> Photo:
    """Return the photo with its digest after checking it against the record.

    Raises:
        UserError: it is not; or one of the run's own photos can't be read.
    """
    if error and own:
        raise UserError(
            f"{photo.path} cannot be read any more ({error}): put it back, or name other photos by data.root"
        )
    if photo.sha256 is not None and not error and photo.sha256 != sha256:
        raise UserError(f"{photo.path} is not the file that it was: its sha256 has changed; put the old one back")
    return replace(photo, sha256=sha256 or None)


def split_photos(run: Run, class_names: Sequence[str] = ()) -> list[Photo]:
    """The photos of split.csv in its order, in which the training scored them."""
    try:
        return _read_split(run, class_names)
    except (OSError, KeyError, ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{run.split} is damaged ({reason}): restore it or train again") from error


def _read_split(run: Run, class_names: Sequence[str]) -> list[Photo]:
    records = read_table(run.split)
    if other := next((row["subset"] for row in records if row["subset"] not in SUBSETS), None):
        raise ValueError(f"subset {other!r}")
    return [
        Photo(
            Path(row["path"]),
            row["path"],
            class_names.index(row["label"]) if class_names else 0,
            row["group"],
            row["subset"],
            row["sha256"],
            row.get("kind") or "",
            row.get("camera") or "",
        )
        for row in records
    ]
