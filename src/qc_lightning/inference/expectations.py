"""Expected verdicts of photos, from recorded verdicts or from labels. Needs no torch."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qc_lightning.core.csv_files import as_given
from qc_lightning.core.errors import UserError
from qc_lightning.inference.sources import find_photos
from qc_lightning.metrics.verdict import Verdict

if TYPE_CHECKING:
    from qc_lightning.inference.inspection import Inspection


@dataclass(frozen=True)
class Expectation:
    """One photo and its record.

    Attributes:
        path: the file.
        label: 0 for Correct, 1 for Incorrect, None if unknown.
        verdict: its recorded verdict, None if there is none.
        sha256: recorded digest of the file's bytes, hex, None if there is none.
        camera: value of the column `camera`, empty if there is none.
    """

    path: Path
    label: int | None = None
    verdict: Verdict | None = None
    sha256: str | None = None
    camera: str = ""

    def disagreement(self, inspection: "Inspection") -> str:
        """Why an inspection differs from the expectation, in words; empty if it agrees.

        A recorded verdict must be reproduced. A label only requires that no Incorrect part passes and no Correct part
        is rejected: REVIEW is accepted for both.
        """
        if inspection.error and self.verdict != inspection.verdict:
            return f"cannot be inspected ({inspection.error})"
        if self.sha256 and inspection.sha256 and self.sha256 != inspection.sha256:
            return "is not the file that it was: its sha256 has changed"
        if self.verdict is not None:
            return "" if inspection.verdict == self.verdict else f"was {self.verdict}, now {_said(inspection)}"
        wrong = Verdict.PASS if self.label == 1 else Verdict.REJECT
        kind = "escape" if self.label == 1 else "overkill"
        return f"{kind}: {_said(inspection)}" if inspection.verdict == wrong else ""


def read_expectations(source: str, class_names: tuple[str, str]) -> list[Expectation]:
    """List photos with their expectations.

    Args:
        source: a folder with one folder per class; or a .csv or .jsonl with one row per photo: `path` and
            `verdict` (rows of `predict`, predictions.csv) or `label` (split.csv, a manifest).
        class_names: the model's names for Correct and Incorrect.

    Raises:
        UserError: there is no such source, or it has neither verdicts nor labels.
    """
    path = Path(os.path.abspath(os.path.expanduser(source)))  # noqa: PTH100, PTH111  # a link keeps its name
    if path.is_file() and path.suffix.lower() in (".csv", ".jsonl"):
        expected = [_of_row(row, path, class_names) for row in _rows(path)]
    else:
        photos = find_photos(source, [])
        labels = {name: label for label, name in enumerate(class_names)}
        named = [
            (photos.root / name, [labels[part] for part in Path(name).parts[:-1] if part in labels])
            for name in photos.names
        ]
        expected = [Expectation(photo, label=labels[0]) for photo, labels in named if labels]
        if len(expected) < len(named):
            other = next(photo for photo, labels in named if not labels)
            raise UserError(
                f"source: expected every photo in a folder {class_names[0]} or {class_names[1]}, got {other} "
                f"({len(named) - len(expected)} of {len(named)} are elsewhere)"
            )
    if not expected:
        raise UserError(f"source: expected photos in {path}, got none")
    return expected


def _rows(path: Path) -> Iterator[Mapping[str, str | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            if path.suffix.lower() == ".csv":
                for row in csv.DictReader(file):
                    yield {name: field if field is None else as_given(field) for name, field in row.items() if name}
            else:
                yield from (json.loads(line) for line in file if line.strip())
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path}: expected one row per photo, cannot read it ({error})") from error


def _of_row(row: Mapping[str, str | None], listing: Path, class_names: tuple[str, str]) -> Expectation:
    verdict, label = row.get("verdict") or None, row.get("label") or None
    if not row.get("path") or (verdict is None and label is None):
        raise UserError(f"{listing}: expected columns path and verdict or label, got {', '.join(map(str, row))}")
    if verdict is not None and verdict not in list(Verdict):
        raise UserError(f"{listing}: expected PASS, REVIEW or REJECT as verdict, got {verdict!r}")
    if label is not None and label not in class_names:
        raise UserError(f"{listing}: expected {class_names[0]} or {class_names[1]} as label, got {label!r}")
    return Expectation(
        listing.parent / Path(str(row["path"])).expanduser(),
        None if label is None else class_names.index(label),
        None if verdict is None else Verdict(verdict),
        row.get("sha256") or None,
        row.get("camera") or "",
    )


def _said(inspection: "Inspection") -> str:
    probability = "no probability" if inspection.probability is None else f"probability {inspection.probability:.6f}"
    return f"{inspection.verdict} ({probability}, threshold {inspection.threshold:.6f})"
