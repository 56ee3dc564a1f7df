"""Export the verdict log as one table: .csv, .xlsx or .parquet."""

from itertools import islice
from pathlib import Path

from qc_lightning.core.atomic import replacing
from qc_lightning.core.csv_files import Marks
from qc_lightning.inference.log_entry import COLUMNS
from qc_lightning.inference.log_file import query
from qc_lightning.inference.tables import write_parquet, write_xlsx
from qc_lightning.service.sinks.files import csv_sink

_AT_ONCE = 1000  # rows


def export_log(log: Path, output: Path, marks: Marks) -> int:
    """Write all rows of a log to a file, atomically.

    Args:
        log: file of the log.
        output: a .csv, .xlsx or .parquet file.
        marks: separator and decimal mark of a .csv.

    Returns:
        The number of rows.

    Raises:
        UserError: the log cannot be read, a package is missing, or a sheet has no room for all rows.
    """
    entries = query(log)
    ending = output.suffix.lower()
    if ending != ".csv":
        write = write_xlsx if ending == ".xlsx" else write_parquet
        return write(output, COLUMNS, ((number, *entry, digest) for number, entry, digest in entries))
    count = 0
    with replacing(output) as temporary:
        sink = csv_sink(temporary, marks)
        while some := list(islice(entries, _AT_ONCE)):
            sink.deliver(some)
            count += len(some)
    return count
