"""Questions to the record of every verdict, each with a connection of its own, while it is being written or later."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from qc_lightning.inference import log_file
from qc_lightning.inference.log_entry import Entry, Row
from qc_lightning.metrics.verdict import Verdict

LOOKED_AT = 1000
"""Reviewed rows that `open_reviews` looks through, the newest: what it costs does not grow with the log."""


def row_of(path: Path, number: int) -> Row | None:
    """A row by its number; None when there is none."""
    return next(log_file.query(path, "WHERE id = ?", number), None)


def open_reviews(path: Path) -> list[Row]:
    """Inspections with the verdict REVIEW that nobody has overridden yet, oldest first, of the newest `LOOKED_AT`."""
    newest = (
        f"SELECT * FROM entries WHERE verdict = '{Verdict.REVIEW}' AND overrides IS NULL "
        f"ORDER BY id DESC LIMIT {LOOKED_AT}"
    )
    open_ones = "NOT EXISTS (SELECT 1 FROM entries AS other WHERE other.overrides = entries.id)"
    return list(log_file.query(path, f"WHERE id IN (SELECT id FROM ({newest})) AND {open_ones} ORDER BY id"))


def newest_inspection(path: Path, part: str, source: str) -> Row | None:
    """The newest inspection of a part; None when there is none."""
    where = "WHERE part = ? AND source = ? AND overrides IS NULL ORDER BY id DESC LIMIT 1"
    return next(log_file.query(path, where, part, source), None)


def rows_after(path: Path, number: int, most: int) -> list[Row]:
    """The rows after that number, in order, so many at most."""
    return list(log_file.query(path, "WHERE id > ? ORDER BY id LIMIT ?", number, most))


def measured(path: Path, model: str, most: int | None = None) -> Iterator[tuple[int, list[float], bool]]:
    """What drift compares of a model's inspections, in order: row, measures, whether it is on the rejected side.

    Args:
        path: of the log.
        model: digest of the model's record.
        most: only so many, the newest; None for all.
    """
    where = "model = ? AND overrides IS NULL AND measures != ''"
    if most is None:
        rows: Iterable[Row] = log_file.query(path, f"WHERE {where} ORDER BY id", model)
    else:
        rows = reversed(list(log_file.query(path, f"WHERE {where} ORDER BY id DESC LIMIT ?", model, most)))
    for number, entry, _ in rows:
        yield number, *read_measures(entry)


def read_measures(entry: Entry) -> tuple[list[float], bool]:
    """The measures of an inspection and whether its probability is at least the threshold."""
    rejected = entry.probability is not None and entry.probability >= entry.threshold
    return [float(number) for number in entry.measures.split()], rejected


def newest_measured_model(path: Path) -> str | None:
    """Digest of the record of the model that measured last; None when none has."""
    row = next(log_file.query(path, "WHERE measures != '' ORDER BY id DESC LIMIT 1"), None)
    return row.entry.model if row else None


def newest_number(path: Path) -> int:
    """Number of the newest row, 0 when there is none."""
    row = next(log_file.query(path, "ORDER BY id DESC LIMIT 1"), None)
    return row.number if row else 0


def corrected(path: Path) -> Iterator[tuple[Row, Row]]:
    """Each inspection that a person has overridden, and the newest override of it, in the order of the inspections."""
    newest: dict[int, Row] = {}
    for row in log_file.query(path, "WHERE overrides IS NOT NULL ORDER BY id"):
        newest[row.entry.overrides or 0] = row
    for number in sorted(newest):
        inspected = row_of(path, number)
        if inspected is not None:
            yield inspected, newest[number]
