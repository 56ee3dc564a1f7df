"""The file of verdicts: one row per photo, appended as photos are done, consistent after any kill.

CSV and JSON lines grow at their end, and a kill can at most tear the last row, which is cut off when the work is
resumed. Parquet and .xlsx have their index at the end of the file, so a truncated file is unreadable. Their rows are
therefore collected as JSON lines in a file next to them (verdicts.parquet.jsonl) and converted when all photos are
done. A workbook's JSON lines are kept: a workbook is for people and never read back.
"""

import os
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from qc_lightning.core.csv_files import USUAL, Marks
from qc_lightning.core.errors import UserError
from qc_lightning.prediction.rows import Row, from_parquet, header, read_rows, to_parquet, to_text, to_xlsx

_SYNC_SECONDS = 1.0  # a power cut loses at most this much; a kill loses no written row

_PACKAGES = {".parquet": ("pyarrow", "parquet"), ".xlsx": ("openpyxl", "xlsx")}  # and the extras that install them


@dataclass
class Written:
    """Content of an existing output.

    Attributes:
        sha256: digest of the bytes of each photo's newest row, by path; empty if they could not be read.
        counts: rows by verdict, and those with an error as `error`.
        models: ids of the models in the rows.
        thresholds: by which the rows were decided.
        end: length in bytes of the complete rows; the rest is a torn row.
        size: bytes of the file.
        marks: separator and decimal mark of a CSV.
    """

    sha256: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)
    thresholds: set[float] = field(default_factory=set)
    end: int = 0
    size: int = 0
    marks: Marks = USUAL


def read_written(output: Path, resume: bool, marks: Marks = USUAL) -> Written:
    """Read the rows of an output that is to be continued, without changing it.

    Raises:
        UserError: it exists and `resume` is false, it holds something else, or Parquet's package is missing.
    """
    journal = _journal(output)
    package, extra = _PACKAGES.get(output.suffix.lower(), ("", ""))
    if package and find_spec(package) is None:
        raise UserError(f'output={output} needs {package}: pip install "qc-lightning[{extra}]"; or use .csv or .jsonl')
    if output.is_dir():
        raise UserError(f"output: expected a file, {output} is a folder: give output={output / 'verdicts.csv'}")
    for path in (output, journal):
        if path.exists() and not path.is_file():  # a pipe or a device: reading would block or never end
            raise UserError(f"output: expected a file, {path} is none: give another output=")
    existing = next((path for path in (output, journal) if os.path.lexists(path)), None)
    if existing and not resume:
        raise UserError(f"{existing} already exists: continue it with resume=true, or give another output=")
    written = Written(marks=marks)
    if journal != output and output.exists() and not journal.exists():
        if output.suffix.lower() == ".xlsx":
            raise UserError(f"{output} cannot be continued without {journal.name} next to it: give another output=")
        from_parquet(output, journal)
    if not journal.exists():
        return written
    with journal.open("rb") as file:
        written.size = os.fstat(file.fileno()).st_size
        for row, written.end in read_rows(file, journal, marks):
            if row is not None:
                written.sha256[row.path] = row.sha256 or ""
                written.models.add(row.model_id)
                written.thresholds.add(row.threshold)
                written.counts.update(_counted(row))
    return written


def rows_of(output: Path, marks: Marks) -> Iterator[Row]:
    """The rows of an output checked by `read_written`, oldest first."""
    journal = _journal(output)
    with journal.open("rb") as file:
        yield from (row for row, _ in read_rows(file, journal, marks) if row is not None)


class VerdictFile:
    """An output open for writing by one process at a time.

    Args:
        output: final path.
        written: result of `read_written`.

    Raises:
        UserError: it cannot be written, or another process writes to it.
    """

    def __init__(self, output: Path, written: Written) -> None:
        self.output = output
        self.counts = written.counts.copy()
        self.novelty = array("d")  # of the photos written here, for `unlike_training`
        self._path, self._marks = _journal(output), written.marks
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            # append mode creates a missing file and truncates nothing before the lock
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise UserError(f"output: cannot write {self._path}: {error.strerror}") from error
        try:
            self._lock()
            if os.fstat(self._file.fileno()).st_size != written.size:
                raise UserError(f"{self._path} has changed since it was read: is another process writing to it?")
        except UserError:
            self._file.close()
            raise
        self._file.truncate(written.end)
        self._synced = time.monotonic()
        if written.end == 0:
            self._append(header(self._path, self._marks))

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the file, which has all rows."""
        self._file.close()

    def write(self, records: Sequence[Row]) -> None:
        """Append rows; they survive a later kill of the process."""
        for row in records:
            self.counts.update(_counted(row))
            if row.novelty is not None:
                self.novelty.append(row.novelty)
        self._append(to_text(records, self._path, self._marks))

    def finish(self) -> None:
        """Write the Parquet file or the workbook; other formats are always complete."""
        if self.output.suffix.lower() == ".xlsx":
            to_xlsx(self._path, self.output)
        elif self._path != self.output:
            to_parquet(self._path, self.output)
            self._path.unlink()

    def _append(self, text: str) -> None:
        data = memoryview(text.encode())
        try:
            while data:
                data = data[self._file.write(data) :]
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                with suppress(OSError):  # a file system that cannot
                    os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}; then continue with resume=true") from error

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is writing to {self._path}: wait, or give another output=") from None
        except OSError:  # a file system without locks
            return


def _counted(row: Row) -> list[str]:
    return [key for key in (row.verdict, row.error and "error") if key]


def _journal(output: Path) -> Path:
    """The file that rows are appended to: the output itself, or for Parquet and a workbook the file next to it."""
    return output.with_name(f"{output.name}.jsonl") if output.suffix.lower() in _PACKAGES else output
