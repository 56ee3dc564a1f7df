"""Turn overrides on the line into labelled photos for the next training, added to the old split."""

import csv
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qc_lightning.core.atomic import unfinished_folder, write_text
from qc_lightning.core.claim import place_folder
from qc_lightning.core.csv_files import csv_text, read_table
from qc_lightning.core.errors import UserError
from qc_lightning.inference import log_file
from qc_lightning.inference.kept_photos import find_kept
from qc_lightning.inference.log_entry import Row
from qc_lightning.inference.log_queries import corrected
from qc_lightning.metrics.verdict import Verdict

_COLUMNS = ("path", "label", "group", "subset", "sha256")
_MANIFEST = "labels.csv"


@dataclass(frozen=True)
class LabelledPhotos:
    """Numbers of labelled photos and of photos left out.

    Attributes:
        manifest: the table of all photos.
        new: photos by class.
        lost: overridden photos that were not kept.
        in_old_split: photos already in the old split, which keep its label.
        otherwise: number of these with a different label by a person.
        old: photos of the old split.
    """

    manifest: Path
    new: Mapping[str, int]
    lost: int
    in_old_split: int
    otherwise: int
    old: int

    def __str__(self) -> str:
        """Summary for a person."""
        counts = ", ".join(f"{count} {name}" for name, count in self.new.items())
        lines = [f"{self.manifest}: {counts} from the line, {self.old} from the old split"]
        if self.lost:
            lines.append(f"left out: {self.lost} that were not kept or made room for others (keep=, keep_gigabytes=)")
        if self.in_old_split:
            lines.append(
                f"left out: {self.in_old_split} that the old split has; a person labels {self.otherwise} of them "
                "otherwise"
            )
        return "\n".join(lines)


def labelled_photos(log: Path, photos: Path, output: Path, beside: Path | None) -> LabelledPhotos:
    """Copy the overridden photos into one folder per class, and list them after the old photos in a manifest.

    With an old split, new photos join its training part: validation and test photos stay the same, so that both models
    can be compared on them. Photos of one part share a group. Of several overrides of a photo the newest counts.

    Args:
        log: log of the line.
        photos: folder of the kept photos.
        output: a new folder.
        beside: split.csv of the previous training; None: only the new photos are listed.

    Raises:
        UserError: the folder exists, the split or the log cannot be read, or there are no overrides.
    """
    if output.exists():
        raise UserError(f"{output} already exists: give another output=")
    old = _read_split(beside) if beside else []
    labels = {row["sha256"]: row["label"] for row in old}
    newest = {inspected.entry.sha256: (inspected, said) for inspected, said in corrected(log) if inspected.entry.sha256}
    if not newest:
        raise UserError(f"{log}: nobody has overridden a verdict yet, there is nothing to learn from")
    records = log_file.model_records(log)
    names = {digest: _class_names(record) for digest, record in records.items()}
    new: list[dict[str, str]] = []
    lost = repeated = otherwise = 0
    with unfinished_folder(output.absolute().parent) as unfinished:
        for sha256, (inspected, said) in newest.items():
            label = names.get(inspected.entry.model, ("Correct", "Incorrect"))[said.entry.verdict == Verdict.REJECT]
            if sha256 in labels:
                repeated, otherwise = repeated + 1, otherwise + (labels[sha256] != label)
                continue
            kept = find_kept(photos, sha256)
            if kept is None:
                lost += 1
                continue
            name = f"{label}/{sha256[:20]}{kept.suffix}"
            (unfinished / label).mkdir(exist_ok=True)
            shutil.copyfile(kept, unfinished / name)
            row = name, label, _group(inspected), "train" if old else "", sha256
            new.append(dict(zip(_COLUMNS, row, strict=True)) | {"camera": inspected.entry.source})
        if not new:
            raise UserError(f"{log}: {len(newest)} overrides, but none of a new photo that was kept in {photos}")
        _write_manifest(unfinished / _MANIFEST, old, new, records.values())
        place_folder(unfinished, output, named=True, another="output=")
    counts = {name: sum(row["label"] == name for row in new) for name in sorted({row["label"] for row in new})}
    return LabelledPhotos(output / _MANIFEST, counts, lost, repeated, otherwise, len(old))


def _write_manifest(
    path: Path, old: Sequence[dict[str, str]], new: Sequence[dict[str, str]], records: Iterable[str]
) -> None:
    """List the old photos and the new ones; `camera` is a column where a region depends on it."""
    regions = any(json.loads(record)["metadata"].get("decode", {}).get("cameras") for record in records)
    more = [
        column
        for column in ("kind", "camera")
        if any(row.get(column) for row in old) or (column == "camera" and regions)
    ]
    columns = [*_COLUMNS, *more]
    write_text(path, csv_text(columns, [[row.get(name) or "" for name in columns] for row in [*old, *new]]))


def _read_split(path: Path) -> list[dict[str, str]]:
    """The rows of a split.csv, with absolute paths."""
    try:
        records = read_table(path)
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"beside: expected the split.csv of a run, cannot read {path} ({reason})") from error
    if not records or not all(column in records[0] for column in _COLUMNS):
        raise UserError(f"beside: expected the split.csv of a run with {','.join(_COLUMNS)}, {path} is none")
    return [row | {"path": str((path.parent / row["path"]).absolute())} for row in records]


def _class_names(record: str) -> tuple[str, str]:
    correct, incorrect = json.loads(record)["metadata"]["class_names"]
    return correct, incorrect


def _group(inspected: Row) -> str:
    """The group of a photo: its part, or the photo itself if it has no part number."""
    entry = inspected.entry
    return f"line/{entry.part}" if entry.part else f"line-row/{inspected.number}"
