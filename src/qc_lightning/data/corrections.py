"""Corrections made on a page: labels, photos of one part, photos to leave out. Files are never changed."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import read_text
from qc_lightning.core.suggestions import nearest
from qc_lightning.data.checks.duplicates import Copies, join_copies
from qc_lightning.data.photo import Catalog, Photo

COLUMNS = ("path", "label", "same_part_as", "leave_out")


def apply_corrections(photos: Sequence[Photo], file: Path, class_names: tuple[str, str]) -> Catalog:
    """Apply a corrections.csv to labels and groups and leave photos out; an empty field changes nothing.

    Args:
        photos: of the catalog.
        file: CSV with path,label,same_part_as,leave_out; a path is the photo's name below the root, or absolute.
        class_names: the labels of Correct and Incorrect.

    Raises:
        UserError: the file or a line is invalid, or no line is about one of these photos.
    """
    place = {photo.name: index for index, photo in enumerate(photos)}
    place |= {str(photo.path): index for index, photo in enumerate(photos)}
    changed, out, pairs, missing = list(photos), set(), list[Copies](), 0
    labels = 0
    corrections = read_corrections(file)
    for line, row in enumerate(corrections, start=2):
        where = f"{file}, line {line}"
        if row["label"] not in ("", *class_names):
            hint = nearest(row["label"], list(class_names))
            raise UserError(
                f"{where}: unknown label '{row['label']}'{hint}; expected {class_names[0]}, {class_names[1]} or nothing"
            )
        if row["leave_out"] not in ("", "yes"):
            raise UserError(f"{where}: expected yes or nothing in leave_out, got '{row['leave_out']}'")
        index = place.get(row["path"])
        if index is None:
            missing += 1
            continue
        if row["leave_out"]:
            out.add(index)
        if row["label"]:
            labels += class_names.index(row["label"]) != changed[index].label
            changed[index] = replace(changed[index], label=class_names.index(row["label"]))
        if row["same_part_as"]:
            other = place.get(row["same_part_as"])
            if other is None:
                missing += 1
            else:
                pairs.append(Copies(min(index, other), max(index, other), "bytes", 0.0))
    if corrections and missing >= len(corrections):
        raise UserError(f"data.corrections: expected corrections of these photos, {file} names none of them")
    groups, _ = join_copies([photo.group for photo in changed], pairs, near=False)
    kept = [replace(photo, group=groups[index]) for index, photo in enumerate(changed) if index not in out]
    note = f"{file.name}: {labels} labels changed, {len(pairs)} pairs of photos joined to one part, {len(out)} left out"
    note += f", {missing} corrections name photos that are not there." if missing else "."
    return Catalog(kept, [note])


def read_corrections(file: Path) -> list[dict[str, str]]:
    """The lines of a corrections.csv by its columns.

    Raises:
        UserError: the file is not what it must be.
    """
    if not file.is_file():
        raise UserError(f"data.corrections: expected a CSV with {','.join(COLUMNS)}, no file {file}")
    try:
        reader = csv.DictReader(io.StringIO(read_text(file, encoding="utf-8-sig"), newline=""))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{file}: expected {','.join(COLUMNS)} in line 1, got {','.join(reader.fieldnames or ())}")
        corrections = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: expected a CSV in UTF-8 ({error})") from error
    short = next((line for line, row in enumerate(corrections, start=2) if None in row or None in row.values()), None)
    if short is not None:
        raise UserError(f"{file}, line {short}: expected {len(COLUMNS)} fields like the first line has")
    return corrections
