"""Queries of the verdict log, each with its own connection, also while the log is being written."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from qc_lightning.inference import log_file
from qc_lightning.inference.log_entry import SPOT_CHECK, Entry, Row
from qc_lightning.metrics.verdict import Verdict

LOOKED_AT = 1000
"""Number of the newest REVIEW rows that `open_reviews` searches, so that its cost does not grow with the log."""

SPOT_CHECKS_FROM = 10_000
"""Number of the newest rows that `open_reviews` searches for spot checks."""


def row_of(path: Path, number: int) -> Row | None:
    """A row by its number; None if there is none."""
    return next(log_file.query(path, "WHERE id = ?", number), None)


def open_reviews(path: Path) -> list[Row]:
    """Inspections that wait for a person's verdict, oldest first: REVIEW of the newest `LOOKED_AT`, spot checks with
    other verdicts among the newest `SPOT_CHECKS_FROM` rows.
    """
    newest = (
        f"SELECT id FROM (SELECT id FROM entries WHERE verdict = '{Verdict.REVIEW}' AND overrides IS NULL "
        f"ORDER BY id DESC LIMIT {LOOKED_AT}) UNION SELECT id FROM entries WHERE id > (SELECT max(id) FROM entries) - "
        f"{SPOT_CHECKS_FROM} AND verdict != '{Verdict.REVIEW}' AND reason LIKE '%{SPOT_CHECK}' AND overrides IS NULL"
    )
    open_ones = "NOT EXISTS (SELECT 1 FROM entries AS other WHERE other.overrides = entries.id)"
    return list(log_file.query(path, f"WHERE id IN ({newest}) AND {open_ones} ORDER BY id"))


def newest_inspection(path: Path, part: str, source: str) -> Row | None:
    """The newest inspection of a part; None if there is none.

    Args:
        path: path of the log.
        part: number of the part.
        source: camera or folder of the photo.
    """
    where = "WHERE part = ? AND source = ? AND overrides IS NULL ORDER BY id DESC LIMIT 1"
    return next(log_file.query(path, where, part, source), None)


def rows_after(path: Path, number: int, most: int) -> list[Row]:
    """The rows after a number, in order.

    Args:
        path: path of the log.
        number: number of the row before the first one.
        most: largest number of rows.
    """
    return list(log_file.query(path, "WHERE id > ? ORDER BY id LIMIT ?", number, most))


def measured(path: Path, model: str, most: int | None = None) -> Iterator[tuple[int, list[float], bool]]:
    """Drift statistics of a model's inspections, in order: row, measures, whether it is on the rejected side.

    Args:
        path: path of the log.
        model: digest of the model's record.
        most: number of newest inspections; None for all.
    """
    where = "model = ? AND overrides IS NULL AND measures != ''"
    if most is None:
        entries: Iterable[Row] = log_file.query(path, f"WHERE {where} ORDER BY id", model)
    else:
        entries = reversed(list(log_file.query(path, f"WHERE {where} ORDER BY id DESC LIMIT ?", model, most)))
    for number, entry, _ in entries:
        yield number, *read_measures(entry)


def read_measures(entry: Entry) -> tuple[list[float], bool]:
    """The drift statistics of an inspection, and whether its probability is at least the threshold."""
    rejected = entry.probability is not None and entry.probability >= entry.threshold
    return [float(number) for number in entry.measures.split()], rejected


def models_of(path: Path) -> list[tuple[str, str, int, int]]:
    """The models that inspected, the last one first: digest of the record, id, photos, number of the newest row."""
    statement = (
        "SELECT model, model_id, count(*), max(id) FROM entries WHERE model != '' AND overrides IS NULL "
        "GROUP BY model, model_id ORDER BY max(id) DESC"
    )
    return list(log_file.select(path, statement))


def newest_number(path: Path) -> int:
    """Number of the newest row, 0 if there is none."""
    row = next(log_file.query(path, "ORDER BY id DESC LIMIT 1"), None)
    return row.number if row else 0


def first_since(path: Path, time: str) -> int:
    """Number of the first row at or after a time, or the number after the newest row; times rise with numbers.

    Args:
        path: path of the log.
        time: UTC, in the format of the rows.
    """
    low, high = 1, newest_number(path) + 1
    while low < high:
        middle = (low + high) // 2
        row = row_of(path, middle)
        low, high = (middle + 1, high) if row is not None and row.entry.time < time else (low, middle)
    return low


def verdict_counts(path: Path, after: int, without: Sequence[str]) -> tuple[int, dict[str, int]]:
    """Number of inspections by verdict after a row.

    Args:
        path: path of the log.
        after: number of the row.
        without: parts to leave out.

    Returns:
        The number of the newest row, and the counts.
    """
    newest = max(after, newest_number(path))
    statement = (
        "SELECT verdict, count(*) FROM entries WHERE id > ? AND id <= ? AND overrides IS NULL "
        f"AND part NOT IN ({', '.join('?' * len(without))}) GROUP BY verdict"
    )
    return newest, dict(log_file.select(path, statement, after, newest, *without))


def judged(path: Path) -> Iterator[tuple[Row, Row]]:
    """Each override with its inspection, in the order of the overrides."""
    inspected = {row.number: row for row in log_file.query(path, "WHERE id IN (SELECT overrides FROM entries)")}
    for row in log_file.query(path, "WHERE overrides IS NOT NULL ORDER BY id"):
        if row.entry.overrides in inspected:
            yield inspected[row.entry.overrides], row


def corrected(path: Path) -> Iterator[tuple[Row, Row]]:
    """Each overridden inspection with its newest override, in the order of the inspections."""
    newest = {inspected.number: (inspected, said) for inspected, said in judged(path)}
    for number in sorted(newest):
        yield newest[number]
