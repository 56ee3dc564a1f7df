"""Write tables as .xlsx and .parquet, row by row."""

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow

Columns = Mapping[str, type]
"""Names and types (str, float or int) of the columns; each value may be None."""

_ROW_GROUP = 50_000  # rows of a Parquet file in memory at a time
_SHEET_ROWS = 1_048_576  # most rows of a sheet, including its header


def parquet_schema(columns: Columns) -> "pyarrow.Schema":
    """The schema of a Parquet file."""
    import pyarrow

    kinds = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}
    return pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])


def write_parquet(path: Path, columns: Columns, records: Iterable[Sequence[object]]) -> int:
    """Write a Parquet file atomically; returns the number of rows.

    Raises:
        UserError: pyarrow is missing.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UserError(f'{path} needs pyarrow: pip install "qc-lightning[parquet]"; or use .csv') from error
    schema, count, waiting = parquet_schema(columns), 0, iter(records)
    with replacing(path) as temporary, pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
        while some := list(islice(waiting, _ROW_GROUP)):
            columns_of = zip(*some, strict=True)
            arrays = [pyarrow.array(values, field.type) for values, field in zip(columns_of, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(some)
    return count


def write_xlsx(path: Path, columns: Columns, records: Iterable[Sequence[object]]) -> int:
    """Write a workbook of one sheet atomically; returns the number of rows.

    Text stays text: a value that begins with `=` is not a formula. Numbers are numbers in Excel of any language.

    Raises:
        UserError: openpyxl is missing, or the sheet has no room for all rows.
    """
    try:
        from openpyxl import Workbook
    except ModuleNotFoundError as error:
        raise UserError(f'{path} needs openpyxl: pip install "qc-lightning[xlsx]"; or use .csv') from error
    book = Workbook(write_only=True)
    sheet = book.create_sheet("qc-lightning")
    sheet.freeze_panes = "A2"
    sheet.append(list(columns))
    count = 0
    for count, row in enumerate(records, start=1):
        if count >= _SHEET_ROWS:
            raise UserError(f"{path}: expected at most {_SHEET_ROWS - 1} rows, a sheet holds no more: use .csv")
        sheet.append(list(_cells(sheet, row)))
    content = io.BytesIO()  # openpyxl's archive, left by a full disk, would print a traceback when it is collected
    book.save(content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return count


def _cells(sheet: Any, row: Sequence[object]) -> Iterator[object]:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    for value in row:
        if isinstance(value, str):
            cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("\ufffd", value))
            cell.data_type = "s"
            yield cell
        else:  # a workbook has no infinity
            yield None if isinstance(value, float) and not math.isfinite(value) else value
