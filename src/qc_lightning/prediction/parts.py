"""Verdicts by part in `<output>_parts.csv`, for parts shown on several photos."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qc_lightning.config import PredictConfig
from qc_lightning.config.record import RunRecord
from qc_lightning.core.atomic import write_text
from qc_lightning.core.csv_files import Marks, csv_lines
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.catalog import path_text
from qc_lightning.data.photo import group_of
from qc_lightning.inference.sources import Source
from qc_lightning.metrics.parts import PartTracker, PartVerdict, View
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.prediction.model import Model
from qc_lightning.prediction.rows import Row

_COLUMNS = ("part", "verdict", "worst", "probability", "photos", "missing", "reason")


@dataclass(frozen=True)
class PartRule:
    """The rule that assigns photos to parts.

    Attributes:
        kind: folder | prefix | column | none; none: each photo is its own part.
        root: folder that photo names are relative to.
        column: part by path, for kind=column.
        views: photos per part; None: unknown.
        wait: while watching, seconds after a part's newest photo until it gets a verdict without its missing photos.
    """

    kind: str
    root: Path
    column: Mapping[str, str] = field(default_factory=dict)
    views: int | None = None
    wait: float = 0.0

    def part(self, path: str) -> str:
        """The part of a photo, as text from `path_text`."""
        if self.kind == "column":
            return self.column.get(path) or path
        return group_of(path.removeprefix(f"{path_text(str(self.root)).rstrip('/')}/"), self.kind) or self.root.name


def part_rule(config: PredictConfig, model: Model, source: Source) -> PartRule:
    """The rule in the settings, by default that of the run's split.

    Raises:
        UserError: the column is missing, or `views` is given although every photo is its own part.
    """
    kind = config.part
    if kind is None and source.parts:
        kind = "column"
    if kind is None and isinstance(model, Run) and model.record.is_file():
        group = RunRecord.read(model).data.group
        kind = group if group in ("folder", "prefix") else "none"
    if kind == "column" and not source.parts:
        raise UserError(f"part=column: expected a .csv with the columns path and part as source, got {config.source}")
    if config.views is not None and kind in (None, "none"):
        raise UserError(f"views={config.views}: say which photos show one part by part=folder, prefix or column")
    column = {path_text(str(source.root / name)): part for name, part in source.parts.items()}
    return PartRule(kind or "none", source.root, column, config.views, config.part_wait)


def check_parts_file(output: Path, rule: PartRule, resume: bool, marks: Marks) -> None:
    """Refuse to overwrite a file that this prediction did not write.

    Raises:
        UserError: the file exists.
    """
    path = _parts_file(output)
    if rule.kind == "none" or not path.exists():
        return
    with path.open("rb") as file:
        ours = file.readline() == _header(marks).encode()
    if not (resume and ours):
        raise UserError(f"{path} already exists: move it, or give another output=")


def _header(marks: Marks) -> str:
    return marks.start + csv_lines([_COLUMNS], marks)


def _parts_file(output: Path) -> Path:
    return output.with_name(f"{output.stem}_parts.csv")


class PartFile:
    """The rows of parts, written after all photos or, while watching, as soon as a part is complete.

    Args:
        output: file of the photos' rows.
        rule: assigns photos to parts; with kind=none nothing is written.
        watch: whether more photos are expected.
        marks: separator and decimal mark of the CSV.
        before: rows of an earlier start, which may include photos of a part.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, output: Path, rule: PartRule, watch: bool, marks: Marks, before: Iterable[Row] = ()) -> None:
        self.path = _parts_file(output)
        self._rule, self._watch, self._marks = rule, watch, marks
        self._tracker = PartTracker(rule.views, rule.wait if watch else 0.0)
        self._newest: dict[str, Verdict] = {}
        if rule.kind == "none":
            return
        try:
            # rows of an earlier start do not include the photos still to come
            self.path.unlink(missing_ok=True)
            if watch:
                write_text(self.path, _header(marks))
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from error
        self.write(before)

    def write(self, records: Iterable[Row]) -> None:
        """Add the rows of some photos."""
        if self._rule.kind == "none":
            return
        now, done = time.monotonic(), []
        for row in records:
            view = View(Verdict(row.verdict), row.probability, row.reason or "")
            part = self._tracker.add(self._rule.part(row.path), row.path, view, now)
            done += [part] if part and self._watch else []
        self._append(done)

    def settle(self) -> None:
        """While watching: write the parts that have waited long enough for a missing photo."""
        if self._watch:
            self._append(self._tracker.due(time.monotonic()))

    def finish(self) -> str:
        """Write the remaining parts; returns a summary, empty without parts."""
        if self._rule.kind == "none":
            return ""
        if self._watch:
            self._append(self._tracker.due(float("inf")))
        else:
            parts = list(self._tracker.every())
            write_text(self.path, _header(self._marks) + csv_lines(map(_cells, parts), self._marks))
            self._newest = {part.part: part.verdict for part in parts}
        counts = Counter(self._newest.values())
        said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        words = f"{self.path}: {len(self._newest)} parts: {said or 'no verdict'}"
        missing, more = (sum(test(part) for part in self._tracker.every()) for test in (self._lacks, self._exceeds))
        words += f"; {missing} lack a view" if missing else ""
        return words + (f"; {more} have more photos than views={self._rule.views}: see part=" if more else "")

    def _lacks(self, part: PartVerdict) -> bool:
        return part.missing > 0

    def _exceeds(self, part: PartVerdict) -> bool:
        return self._rule.views is not None and part.photos > self._rule.views

    def _append(self, parts: Sequence[PartVerdict]) -> None:
        if not parts:
            return
        self._newest |= {part.part: part.verdict for part in parts}
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(csv_lines(map(_cells, parts), self._marks))
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; then continue with resume=true") from error


def _cells(part: PartVerdict) -> tuple[object, ...]:
    return part.part, str(part.verdict), part.worst, part.probability, part.photos, part.missing, part.reason
