"""The file of the verdict log: append-only SQLite, each row with a digest that chains it to the row before.

A changed, removed or inserted row breaks the chain of digests. Rows cut off at the end do not: to detect that, keep the
last digest, which `verify` prints, elsewhere. The chain is no protection against someone who can write the file and
recompute it. Needs the standard library only.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import HEADER, Entry, Row
from qc_lightning.metrics.verdict import Verdict

_APPLICATION, _FORMAT = 0x71634C67, 2  # "qcLg", in the file's header
_PATIENCE = 10.0  # seconds to wait for another program's lock
_DIGEST = 16  # digits of a model record's digest
_OUT_OF_ORDER = 1.0  # seconds: threads that write at the same time, and a clock that is kept right

_APPEND_ONLY = "\n".join(
    f"CREATE TRIGGER {table}_no_{what.lower()} BEFORE {what} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;"
    for table in ("entries", "models")
    for what in ("UPDATE", "DELETE")
)
_SCHEMA = f"""
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    part TEXT NOT NULL,
    source TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    model_id TEXT NOT NULL,
    model TEXT NOT NULL,
    decision TEXT NOT NULL,
    threshold REAL NOT NULL,
    probability REAL,
    logit REAL,
    novelty REAL,
    verdict TEXT NOT NULL CHECK (verdict IN {tuple(map(str, Verdict))}),
    reason TEXT NOT NULL,
    error TEXT NOT NULL,
    milliseconds REAL NOT NULL,
    measures TEXT NOT NULL,
    overrides INTEGER,
    who TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT;
CREATE TABLE models (digest TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE INDEX by_photo ON entries (sha256);
CREATE INDEX by_part ON entries (part);
CREATE INDEX by_override ON entries (overrides) WHERE overrides IS NOT NULL;
CREATE INDEX for_review ON entries (id) WHERE verdict = '{Verdict.REVIEW}' AND overrides IS NULL;
{_APPEND_ONLY}
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection whose commits are on disk when they return."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def prepare(path: Path) -> None:
    """Create a log if there is none.

    Raises:
        UserError: the file is not a log, is of another release, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")  # services that start at the same time create the tables once
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


def register(path: Path, record: str) -> str:
    """Store a model's record once; `Entry.model` refers to it.

    Args:
        path: path of the log.
        record: JSON text.

    Returns:
        Its digest.

    Raises:
        UserError: the log cannot be written.
    """
    digest = record_digest(record)
    try:
        with closing(connect(path)) as connection:
            connection.execute("INSERT INTO models VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, record))
    except sqlite3.Error as error:
        raise UserError(f"log: cannot write {path} ({error}): give another file") from error
    return digest


def append(connection: sqlite3.Connection, entries: Sequence[Entry]) -> int:
    """Append entries in one transaction and return the number of the first. Other programs may append in between."""
    connection.execute("BEGIN IMMEDIATE")
    last = connection.execute("SELECT id, digest FROM entries ORDER BY id DESC LIMIT 1").fetchone()
    first, previous = (last[0] + 1, last[1]) if last else (1, "")
    lines = []
    for number, entry in enumerate(entries, first):
        previous = _digest(previous, number, entry)
        lines.append((number, *entry, previous))
    connection.executemany(f"INSERT INTO entries VALUES ({', '.join('?' * len(HEADER))})", lines)
    connection.execute("COMMIT")
    return first


def query(path: Path, where: str = "ORDER BY id", *values: object) -> Iterator[Row]:
    """Rows of a log.

    Args:
        path: path of the log.
        where: SQL after `SELECT * FROM entries`; by default all rows in order.
        values: values of its placeholders.

    Raises:
        UserError: the file is not a log, or is damaged.
    """
    for number, *fields, digest in select(path, f"SELECT * FROM entries {where}", *values):
        yield Row(number, Entry(*fields), digest)


def model_records(path: Path) -> dict[str, str]:
    """The models' records, JSON texts by digest; errors as for `query`."""
    return dict(select(path, "SELECT digest, record FROM models"))


def first_fault(path: Path) -> tuple[int, str, str]:
    """Check the chain of digests.

    Returns:
        The number of unchanged rows, the digest of the last of them, and the fault of the next row; empty if all rows
        are unchanged.
    """
    records = {digest: record_digest(record) == digest for digest, record in model_records(path).items()}
    previous, count, time = "", 0, ""
    for number, entry, digest in query(path):
        if number != count + 1:
            return count, previous, f"row {count + 1} is missing"
        if digest != _digest(previous, number, entry):
            return count, previous, f"row {number} was changed after it was written"
        if entry.model and not records.get(entry.model, False):
            return count, previous, f"the record of row {number}'s model was changed or removed"
        if entry.time < time and _seconds_between(entry.time, time) > _OUT_OF_ORDER:
            return count, previous, f"row {number} is of {entry.time}, before the row above it: the clock was set back"
        previous, count, time = digest, number, max(time, entry.time)
    return count, previous, ""


def has_digest(path: Path, digest: str) -> bool:
    """Whether a row has this digest; errors as for `query`."""
    return next(query(path, "WHERE digest = ?", digest), None) is not None


def select(path: Path, statement: str, *values: object) -> Iterator[Any]:
    """Rows of an SQL query on a log; errors as for `query`."""
    if not path.is_file():
        raise UserError(f"log: expected a log of qc-lightning serve, there is no {path}")
    try:
        with closing(connect(path)) as connection:
            _check(connection, path)
            yield from connection.execute(statement, values)
    except sqlite3.Error as error:
        raise UserError(f"{path} is damaged or no log ({error}): restore a copy") from error


def record_digest(record: str) -> str:
    """First digits of the SHA-256 of a model's record, hex."""
    return hashlib.sha256(record.encode()).hexdigest()[:_DIGEST]


def _seconds_between(before: str, after: str) -> float:
    return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()


def _digest(previous: str, number: int, entry: Entry) -> str:
    return hashlib.sha256(json.dumps([previous, number, *entry], allow_nan=False).encode()).hexdigest()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise UserError(f"log: {path} is an SQLite file of another program: give another file")
    if version != _FORMAT:
        raise UserError(f"log: {path} has format {version}, this release has {_FORMAT}: use the release that wrote it")
