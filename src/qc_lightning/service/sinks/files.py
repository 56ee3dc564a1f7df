"""Append rows to a file: CSV for a spreadsheet, JSON lines for programs."""

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from qc_lightning.core.csv_files import Marks, csv_lines
from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import HEADER, Row
from qc_lightning.service.sinks.delivery import SinkError

_JSON_START = b'{"id": '
_LONGEST = 1 << 16  # bytes of a row, far more than any has


def as_json(row: Row) -> dict[str, object]:
    """A row as JSON."""
    return dict(zip(HEADER, (row.number, *row.entry, row.digest), strict=True))


class FileSink:
    """A file to which rows are appended, complete or not at all; it is created again if it was moved away.

    Args:
        name: name of its kind.
        path: path of the file.
        header: its first line; empty for none.
        start: pattern of the start of a row.
        lines: converts rows to text.

    Raises:
        UserError: the file holds something else.
    """

    beat: float | None = None

    def __init__(self, name: str, path: Path, header: str, start: bytes, lines: Callable[[Sequence[Row]], str]) -> None:
        self.name, self.target = name, str(path)
        self._path, self._header, self._lines = path, header.encode(), lines
        self._opening = self._header or _JSON_START
        self._start = re.compile(rb"(?:(?<=\n)|\A)" + start)
        self._check()

    def deliver(self, entries: Sequence[Row]) -> None:
        """Append the rows."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b", buffering=0) as file:
            if not self._is_ours(file):
                raise SinkError("it has no rows of this log, or other columns")
            end = self._end_of_rows(file)
            file.truncate(end)
            rest = memoryview((b"" if end else self._header) + self._lines(entries).encode())
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:  # a full disk takes a part of it
                with suppress(OSError):
                    file.truncate(end)
                raise

    def close(self) -> None:
        """Do nothing: the file is not held open."""

    def _check(self) -> None:
        try:
            if self._path.exists() and not self._path.is_file():  # opening a pipe would block
                raise OSError(None, "not a regular file")
            with self._path.open("rb") as file:
                ours = self._is_ours(file)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self.name}: cannot use {self._path} ({error.strerror}): give another file") from error
        if not ours:
            raise UserError(f"{self.name}: {self._path} has no rows of this log, or other columns: give another file")

    def _is_ours(self, file: BinaryIO) -> bool:
        file.seek(0)
        begun = file.read(len(self._opening))
        return self._opening.startswith(begun)

    def _end_of_rows(self, file: BinaryIO) -> int:
        """Length of the complete rows; a power cut may have left a part of another one."""
        begin = max(0, file.seek(0, os.SEEK_END) - _LONGEST)
        file.seek(begin)
        tail = file.read(_LONGEST)
        starts = [match.start() for match in self._start.finditer(tail)]
        if begin and not starts:
            raise SinkError("its end is no row")
        row = starts[-1] if starts else 0
        ends = [match.end() for match in re.finditer(b"\n", tail) if match.start() >= row]
        if self._header:  # in a CSV a field may have line breaks within quotes
            ends = [end for end in ends if tail[row:end].count(b'"') % 2 == 0]
        return begin + (ends[-1] if ends else row)


def csv_sink(path: Path, marks: Marks) -> FileSink:
    """A sink that writes a CSV for a spreadsheet."""

    def lines(entries: Sequence[Row]) -> str:
        return csv_lines([(number, *entry, digest) for number, entry, digest in entries], marks)

    return FileSink("csv", path, marks.start + csv_lines([HEADER], marks), rb"\d+.\d{4}-\d\d-\d\dT", lines)


def json_lines_sink(path: Path) -> FileSink:
    """A sink that writes one JSON object per line."""

    def lines(entries: Sequence[Row]) -> str:
        return "".join(f"{json.dumps(as_json(row))}\n" for row in entries)

    return FileSink("jsonl", path, "", re.escape(_JSON_START), lines)
