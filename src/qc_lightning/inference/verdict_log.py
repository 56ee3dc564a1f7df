"""The record of every verdict: an SQLite file to which rows are only appended, each with a digest of all before it.

A changed, removed or inserted row breaks the chain of digests. Rows cut off at the end do not: the last digest, which
`verify` prints, has to be kept elsewhere to show that. Nor does a chain stop whoever can write the file and compute it
again. Needs the standard library only.
"""

import hashlib
import json
import math
import queue
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from qc_lightning.core.errors import UserError
from qc_lightning.inference.inspection import Inspection
from qc_lightning.metrics.verdict import Verdict

_APPLICATION, _FORMAT = 0x71634C67, 1  # "qcLg", in the file's header
_MOST_AT_A_TIME = 64  # rows of one commit
_PATIENCE = 10.0  # seconds that another program may hold the file

_SCHEMA = f"""
CREATE TABLE inspections (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    part TEXT NOT NULL,
    source TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    model_id TEXT NOT NULL,
    decision TEXT NOT NULL,
    threshold REAL NOT NULL,
    probability REAL,
    logit REAL,
    novelty REAL,
    verdict TEXT NOT NULL CHECK (verdict IN {tuple(map(str, Verdict))}),
    reason TEXT NOT NULL,
    error TEXT NOT NULL,
    milliseconds REAL NOT NULL,
    digest TEXT NOT NULL
) STRICT;
CREATE INDEX by_photo ON inspections (sha256);
CREATE TRIGGER no_update BEFORE UPDATE ON inspections BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON inspections BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""


class Entry(NamedTuple):
    """One inspection as the log has it.

    Attributes:
        time: UTC, ISO 8601 with milliseconds.
        part: number of the part; empty when nobody said.
        source: camera or folder; empty when nobody said.
        sha256: of the photo's bytes, hex; empty when there are none.
        model_id: of the model.
        decision: digest of the decision record; empty when it has none.
        threshold: of the decision.
        probability: P(Incorrect); None when there is none.
        logit: of the network; None when there is none.
        novelty: None when it is not measured.
        verdict: PASS, REVIEW or REJECT.
        reason: why a person has to look.
        error: why there is no probability.
        milliseconds: from the photo's arrival to its verdict.
    """

    time: str
    part: str
    source: str
    sha256: str
    model_id: str
    decision: str
    threshold: float
    probability: float | None
    logit: float | None
    novelty: float | None
    verdict: str
    reason: str
    error: str
    milliseconds: float

    @classmethod
    def of(cls, found: Inspection, part: str, source: str, decision: str, milliseconds: float) -> "Entry":
        """The entry of an inspection that was made now."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        numbers = (
            number if number is None or math.isfinite(number) else None
            for number in (found.probability, found.logit, found.novelty)
        )
        probability, logit, novelty = numbers
        return cls(time, part, source, found.sha256, found.model_id, decision, found.threshold, probability, logit,
                   novelty, found.verdict.value, found.reason, found.error, milliseconds)  # fmt: skip


class VerdictLog:
    """A log that is open for writing, by one thread that commits what waits together.

    Args:
        path: of the file, made when it is missing.

    Attributes:
        trouble: why the last rows could not be written; empty when they could.

    Raises:
        UserError: the file is no log, of a newer release, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.trouble = path, ""
        _prepare(path)
        self._waiting: queue.SimpleQueue[tuple[Entry, Future[int]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def submit(self, entry: Entry) -> "Future[int]":
        """Append an entry; the result is its row's number, once it is safe on the disk.

        The future raises UserError when it cannot be written.
        """
        done: Future[int] = Future()
        self._waiting.put((entry, done))
        return done

    def close(self) -> None:
        """Write what waits, then end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended, connection = False, None
        while not ended:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_AT_A_TIME and not self._waiting.empty():
                batch.append(self._waiting.get())
            ended = None in batch
            items = [item for item in batch if item is not None]
            if not items:
                continue
            try:
                connection = connection or _connect(self.path)
                first = _append(connection, [entry for entry, _ in items])
                self.trouble = ""
            except (sqlite3.Error, OSError) as error:
                if connection:  # which undoes what it had begun
                    connection.close()
                connection = None
                self.trouble = f"log {self.path} cannot be written ({error})"
                for _, done in items:
                    done.set_exception(UserError(self.trouble))
                continue
            for number, (_, done) in enumerate(items, first):
                done.set_result(number)
        if connection:
            connection.close()


def read_entries(path: Path) -> Iterator[tuple[int, Entry, str]]:
    """Every row of a log in order: its number, its entry, its digest.

    Raises:
        UserError: the file is no log, or damaged.
    """
    if not path.is_file():
        raise UserError(f"log: expected a log of qc-lightning serve, there is no {path}")
    try:
        with closing(_connect(path)) as connection:
            _check(connection, path)
            for number, *values, digest in connection.execute("SELECT * FROM inspections ORDER BY id"):
                yield number, Entry(*values), digest
    except sqlite3.Error as error:
        raise UserError(f"{path} is damaged or no log ({error}): restore a copy") from error


def first_fault(path: Path) -> tuple[int, str, str]:
    """Check the chain.

    Returns:
        The number of rows that are as they were written, the digest of the last of them, and what is wrong with the
        next one; empty when all are right.
    """
    previous, count, time = "", 0, ""
    for number, entry, digest in read_entries(path):
        if number != count + 1:
            return count, previous, f"row {count + 1} is missing"
        if digest != _digest(previous, number, entry):
            return count, previous, f"row {number} was changed after it was written"
        if entry.time < time:
            return count, previous, f"row {number} is of {entry.time}, before the row above it: the clock was set back"
        previous, count, time = digest, number, entry.time
    return count, previous, ""


def _digest(previous: str, number: int, entry: Entry) -> str:
    return hashlib.sha256(json.dumps([previous, number, *entry], allow_nan=False).encode()).hexdigest()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _prepare(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(_connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")  # two services that start at a time make the table once
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA.split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
            connection.execute("COMMIT")
            _check(connection, path)
    except (sqlite3.Error, OSError) as error:
        raise UserError(f"log: cannot write {path} ({error}): give another file") from error


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise UserError(f"log: {path} is an SQLite file of another program: give another file")
    if version > _FORMAT:
        raise UserError(f"log: {path} has format {version}, this release reads up to {_FORMAT}: use a newer release")


def _append(connection: sqlite3.Connection, entries: list[Entry]) -> int:
    """Append entries in one transaction; the number of the first. Another program may append between two of these."""
    connection.execute("BEGIN IMMEDIATE")
    last = connection.execute("SELECT id, digest FROM inspections ORDER BY id DESC LIMIT 1").fetchone()
    first, previous = (last[0] + 1, last[1]) if last else (1, "")
    rows = []
    for number, entry in enumerate(entries, first):
        previous = _digest(previous, number, entry)
        rows.append((number, *entry, previous))
    connection.executemany(f"INSERT INTO inspections VALUES ({', '.join('?' * len(rows[0]))})", rows)
    connection.execute("COMMIT")
    return first
