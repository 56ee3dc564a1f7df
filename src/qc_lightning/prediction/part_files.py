"""The output of a cluster: a folder of part files and an index, on a file system or in object storage.

One process, the driver, writes all parts, each atomically and once, so that neither a lost worker nor a retry can lose
or duplicate a row. A part is written every 60 seconds or 50,000 rows: the most that a kill of the driver can lose.
"""

import io
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Self

from qc_lightning.core.atomic import replacing, try_lock
from qc_lightning.core.errors import UserError
from qc_lightning.data.sources.remote import file_system, is_address, reason_of
from qc_lightning.prediction.output import Written
from qc_lightning.prediction.rows import Row, parquet_bytes, read_rows, rows_of_parquet, to_text

_SECONDS, _ROWS = 60.0, 50_000
_INDEX, _FORMAT = "index.json", 1


class PartFolder:
    """A folder of verdicts: part-*.parquet, or part-*.jsonl if its name ends in .jsonl, and index.json.

    Args:
        output: a path or an address such as s3://bucket/verdicts.
        resume: continue an existing folder.

    Attributes:
        written: content of the folder.

    Raises:
        UserError: it exists and `resume` is false, holds something else, or cannot be written.
    """

    def __init__(self, output: str, resume: bool) -> None:
        self.output = output.rstrip("/") if is_address(output) else str(Path(output).expanduser().absolute())
        from fsspec.implementations.local import LocalFileSystem

        self._ending = ".jsonl" if self.output.endswith(".jsonl") else ".parquet"
        if self._ending == ".parquet" and find_spec("pyarrow") is None:
            raise UserError(f'output={output} needs pyarrow: pip install "qc-lightning[ray]"; or use .jsonl')
        self._system, self._root = file_system(self.output)
        self._local, self._lock = isinstance(self._system, LocalFileSystem), -1
        if self._local:
            self.output = self._root
        self._rows: list[Row] = []
        self._since = 0.0
        self._description: dict[str, Any] = {}
        self._parts: list[dict[str, Any]] = []
        self.written = Written()
        existing = self._names()
        if existing and not resume:
            raise UserError(f"{self.output} already exists: continue it with resume=true, or give another output=")
        if existing and _INDEX not in existing:
            raise UserError(f"{self.output}: expected the {_INDEX} of an earlier prediction: give another output=")
        for name in existing:
            if name.startswith("part-") and name.endswith(self._ending):
                self._read(name)

    def begin(self, description: dict[str, Any]) -> Self:
        """Write the index before work starts.

        Args:
            description: description of the prediction, for the index.

        Raises:
            UserError: the folder cannot be written, or another process writes to it.
        """
        self._description = {"format": _FORMAT, "release": version("qc-lightning"), **description}
        if self._local:
            try:
                Path(self.output).mkdir(parents=True, exist_ok=True)
                self._lock = os.open(self.output, os.O_RDONLY)
            except OSError as error:
                raise UserError(f"output: cannot write {self.output}: {error.strerror}") from error
            if os.name == "posix" and not try_lock(self._lock):
                raise UserError(f"another process is writing to {self.output}: wait, or give another output=")
        self._write_index(complete=False)
        return self

    def add(self, row: Row) -> None:
        """Add a row to the next part."""
        self._since = self._since if self._rows else time.monotonic()
        self._rows.append(row)
        if len(self._rows) >= _ROWS:
            self.flush()

    def flush(self, if_due: bool = False) -> None:
        """Write the collected rows as a part; with `if_due` only if the oldest row is a minute old."""
        if not self._rows or (if_due and time.monotonic() - self._since < _SECONDS):
            return
        name = f"part-{len(self._parts):05d}-{uuid.uuid4().hex[:8]}{self._ending}"
        jsonl = self._ending == ".jsonl"
        self._put(name, to_text(self._rows, Path(name)).encode() if jsonl else parquet_bytes(self._rows))
        self._count(name, self._rows)
        self._rows = []

    def finish(self, complete: bool) -> None:
        """Write the remaining rows and the index."""
        self.flush()
        self._write_index(complete)
        if self._lock >= 0:
            os.close(self._lock)

    def _names(self) -> list[str]:
        try:
            if self._system.isfile(self._root):
                raise UserError(f"output: engine=ray writes a folder, {self.output} is a file: give another output=")
            if not self._system.exists(self._root):
                return []
            names = [PurePosixPath(path).name for path in self._system.ls(self._root, detail=False)]
        except FileNotFoundError:
            return []
        except UserError:
            raise
        except Exception as error:  # each file system raises its own error types
            raise UserError(f"output: cannot look into {self.output}: {reason_of(error)}") from error
        return sorted(name for name in names if not name.startswith("."))

    def _read(self, name: str) -> None:
        try:
            data = self._system.cat_file(f"{self._root}/{name}")
        except Exception as error:
            raise UserError(f"output: cannot read {self.output}/{name}: {reason_of(error)}") from error
        records = list(self._rows_of(data, name))
        for row in records:
            self.written.sha256[row.path] = row.sha256 or ""
            self.written.models.add(row.model_id)
            self.written.thresholds.add(row.threshold)
        self._count(name, records)

    def _rows_of(self, data: bytes, name: str) -> Iterator[Row]:
        if self._ending == ".parquet":
            return rows_of_parquet(data, Path(self.output) / name)
        return (row for row, _ in read_rows(io.BytesIO(data), Path(self.output) / name) if row)

    def _count(self, name: str, records: list[Row]) -> None:
        counts = Counter(row.verdict for row in records) + Counter("error" for row in records if row.error)
        self.written.counts += counts
        self._parts.append({"file": name, "rows": len(records)})

    def _write_index(self, complete: bool) -> None:
        counts = dict(sorted(self.written.counts.items()))
        errors = counts.pop("error", 0)
        index = self._description | {
            "complete": complete,
            "rows": sum(part["rows"] for part in self._parts),
            "verdicts": counts,
            "errors": errors,
            "columns": list(Row._fields),
            "parts": self._parts,
        }
        self._put(_INDEX, (json.dumps(index, indent=2, allow_nan=False) + "\n").encode())

    def _put(self, name: str, data: bytes) -> None:
        try:
            if self._local:
                with replacing(Path(self.output) / name) as temporary:
                    temporary.write_bytes(data)
            else:  # an object appears complete or not at all
                self._system.pipe_file(f"{self._root}/{name}", data)
        except Exception as error:
            reason = reason_of(error) if not isinstance(error, OSError) else error.strerror or reason_of(error)
            raise UserError(f"output: cannot write {self.output}/{name}: {reason}") from error
