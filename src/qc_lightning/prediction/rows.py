"""Convert rows of verdicts to and from CSV, JSON lines and Parquet, and to a workbook."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from qc_lightning.core.atomic import replacing
from qc_lightning.core.csv_files import USUAL, Marks, as_given, csv_lines
from qc_lightning.core.errors import UserError
from qc_lightning.inference.tables import parquet_schema, write_parquet, write_xlsx

_ROW_GROUP = 50_000  # rows of a Parquet file in memory at a time


class Row(NamedTuple):
    """One photo's row; an unknown value is None, an empty field in a CSV.

    Attributes:
        path: absolute.
        sha256: digest of the file's bytes, hex; a photo that changes later gets another row.
        probability: P(Incorrect) in [0, 1].
        verdict: PASS, REVIEW or REJECT.
        seconds: spent on this photo.
        model_id: id of the model.
        error: why the probability, a copy or a picture of the photo is missing.
        time: when the photo was inspected, UTC, ISO 8601.
        threshold: threshold of the decision.
        logit: the network's output.
        novelty: novelty of the photo.
        reason: why a person has to look at it.
        part: the part that it shows, if the photos of a part are known.
        camera: camera that took it, if known.
        certificate: whether the decision's certificate holds: none, holds or void.
    """

    path: str
    sha256: str | None
    probability: float | None
    verdict: str
    seconds: float
    model_id: str
    error: str | None
    time: str
    threshold: float
    logit: float | None
    novelty: float | None
    reason: str | None
    part: str | None
    camera: str | None
    certificate: str


_NUMBERS = {"probability", "seconds", "threshold", "logit", "novelty"}
_COLUMNS = {name: float if name in _NUMBERS else str for name in Row._fields}


def is_csv(path: Path) -> bool:
    """Whether a file of rows is a CSV, by its name; otherwise it is JSON lines."""
    return path.suffix.lower() == ".csv"


def to_text(records: Iterable[Row], path: Path, marks: Marks = USUAL) -> str:
    """Encode rows for appending to `path`; `marks` are for a CSV."""
    if is_csv(path):
        return csv_lines(records, marks)
    return "".join(json.dumps(row._asdict(), ensure_ascii=False, allow_nan=False) + "\n" for row in records)


def header(path: Path, marks: Marks = USUAL) -> str:
    """The header of `path`."""
    return marks.start + csv_lines([Row._fields], marks) if is_csv(path) else ""


def read_rows(file: BinaryIO, path: Path, marks: Marks = USUAL) -> Iterator[tuple[Row | None, int]]:
    """Each row and the byte at which it ends; the header counts as a row (None). A torn last row is left out.

    Raises:
        UserError: the file holds something other than rows.
    """
    parse: Callable[[str], Row] = partial(_csv_row, marks=marks) if is_csv(path) else _json_row
    first = header(path, marks).encode() or b'{"path": '
    end, quotes, lines = 0, 0, list[bytes]()
    for line in file:
        lines.append(line)
        quotes += line.count(b'"') if is_csv(path) else 0
        if quotes % 2 or not line.endswith(b"\n"):  # the path contains a line break, or the row is torn
            continue
        record, lines, quotes = b"".join(lines), [], 0
        try:
            row = None if is_csv(path) and end == 0 and record == first else parse(record.decode())
        except (ValueError, TypeError, csv.Error):
            raise _not_ours(path, record) from None
        end += len(record)
        yield row, end
    torn = b"".join(lines)
    if end == 0 and not torn.startswith(first[: len(torn)]):
        raise _not_ours(path, torn)


def to_parquet(source: Path, target: Path) -> None:
    """Write the rows of a file of JSON lines as Parquet."""
    with source.open("rb") as file:
        write_parquet(target, _COLUMNS, (row for row, _ in read_rows(file, source) if row))


def to_xlsx(source: Path, target: Path) -> None:
    """Write the rows of a file of JSON lines as a workbook.

    Raises:
        UserError: a sheet has no room for all rows.
    """
    with source.open("rb") as file:
        write_xlsx(target, _COLUMNS, (row for row, _ in read_rows(file, source) if row))


def parquet_bytes(records: Sequence[Row]) -> bytes:
    """The bytes of a Parquet file of rows."""
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([row._asdict() for row in records], schema=parquet_schema(_COLUMNS)), file
    )
    return file.getvalue()


def rows_of_parquet(data: bytes, path: Path) -> Iterator[Row]:
    """The rows of the bytes of a Parquet file.

    Raises:
        UserError: it does not hold rows.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(io.BytesIO(data)).iter_batches(_ROW_GROUP):
            yield from (Row(**row) for row in batch.to_pylist())
    except (pyarrow.ArrowException, TypeError) as error:
        raise _not_ours(path, str(error).encode()) from error


def from_parquet(source: Path, target: Path) -> None:
    """Write the rows of a finished Parquet file as JSON lines, to continue it.

    Raises:
        UserError: it does not hold rows.
    """
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        records = rows_of_parquet(source.read_bytes(), source)
        while some := list(islice(records, _ROW_GROUP)):
            file.write(to_text(some, target))


def _not_ours(path: Path, start: bytes) -> UserError:
    return UserError(f"{path}: expected the rows of an earlier prediction, found {start[:60]!r}: give another output=")


def _csv_row(text: str, marks: Marks) -> Row:
    def number(field: str) -> float | None:
        return marks.number(field) if field else None

    (fields,) = csv.reader([text], delimiter=marks.separator)
    path, sha256, probability, verdict, seconds, model_id, error, *others = map(as_given, fields)
    time, threshold, logit, novelty, reason, part, camera, certificate = others
    said = error or None, time, marks.number(threshold), number(logit), number(novelty), reason or None
    of_part = part or None, camera or None, certificate
    return Row(path, sha256 or None, number(probability), verdict, marks.number(seconds), model_id, *said, *of_part)


def _json_row(text: str) -> Row:
    return Row(**json.loads(text))
