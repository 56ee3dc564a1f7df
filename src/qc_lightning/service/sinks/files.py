"""Append rows to a file: CSV for a spreadsheet, JSON lines for programs."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from qc_lightning.core.csv_files import Marks, csv_lines
from qc_lightning.inference.log_entry import HEADER, Row


def csv_rows(entries: Sequence[Row], marks: Marks, header: bool) -> str:
    """Rows as lines of a CSV."""
    start = marks.start + csv_lines([HEADER], marks) if header else ""
    return start + csv_lines([(number, *entry, digest) for number, entry, digest in entries], marks)


def as_json(row: Row) -> dict[str, object]:
    """A row as JSON."""
    return dict(zip(HEADER, (row.number, *row.entry, row.digest), strict=True))


class FileSink:
    """A file to which rows are appended; it is created again if it was moved away.

    Args:
        name: name of its kind.
        path: path of the file.
        lines: converts rows to text; its flag is true at the start of the file.
    """

    beat: float | None = None

    def __init__(self, name: str, path: Path, lines: Callable[[Sequence[Row], bool], str]) -> None:
        self.name, self.target = name, str(path)
        self._path, self._lines = path, lines

    def deliver(self, entries: Sequence[Row]) -> None:
        """Append the rows."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8", newline="") as file:
            first = file.tell() == 0
            file.write(self._lines(entries, first))

    def close(self) -> None:
        """Do nothing: the file is not held open."""


def csv_sink(path: Path, marks: Marks) -> FileSink:
    """A sink that writes a CSV for a spreadsheet."""
    return FileSink("csv", path, lambda entries, first: csv_rows(entries, marks, first))


def json_lines_sink(path: Path) -> FileSink:
    """A sink that writes one JSON object per line."""
    return FileSink("jsonl", path, lambda entries, _: "".join(f"{json.dumps(as_json(row))}\n" for row in entries))
