"""Files that receive rows: complete rows after a full disk or a power cut, and no other file is touched."""

import resource
import shutil
from pathlib import Path

import pytest

from qc_lightning.core.csv_files import Marks
from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import Row
from qc_lightning.service.sinks.delivery import SinkError
from qc_lightning.service.sinks.files import csv_sink, json_lines_sink
from test_log import entry


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_has_whole_rows_after_a_full_disk_and_a_power_cut(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows.{kind}"
    sink = csv_sink(path, Marks(";", ",")) if kind == "csv" else json_lines_sink(path)
    rows = [Row(number, entry(number)._replace(reason='two\nlines; "so"'), "d") for number in (1, 2, 3)]
    sink.deliver(rows[:1])
    one = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(one) + 30, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            sink.deliver(rows[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == one
    sink.deliver(rows[1:2])
    two = path.stat().st_size
    sink.deliver(rows[2:])
    whole = path.read_bytes()
    for cut in range(len(one) + 1, len(whole)):
        path.write_bytes(whole[:cut])
        sink.deliver([])
        assert path.read_bytes() == (one if cut < two else whole[:two]), cut
    sink.deliver(rows[2:])
    assert path.read_bytes() == whole
    path.write_bytes(whole[:10])
    sink.deliver(rows)
    assert path.read_bytes() == whole, "a header that was cut"


def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "part.jpg").write_bytes(b"\xff\xd8\xff" * 99)
    csv_sink(tmp_path / "rows.csv", Marks()).deliver([Row(1, entry(1), "d")])
    makes = (lambda: csv_sink(tmp_path / "part.jpg", Marks()), lambda: csv_sink(tmp_path / "rows.csv", Marks(";", ",")),
             lambda: json_lines_sink(tmp_path / "rows.csv"), lambda: json_lines_sink(tmp_path))  # fmt: skip
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for make in makes:
        with pytest.raises(UserError, match=r"(csv|jsonl): .* give another file"):
            make()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    sink = csv_sink(tmp_path / "rows.csv", Marks())
    sink.deliver([Row(2, entry(2), "d")])
    shutil.copy(tmp_path / "part.jpg", tmp_path / "rows.csv")
    with pytest.raises(SinkError, match="no rows of this log"):
        sink.deliver([Row(3, entry(3), "d")])
    assert (tmp_path / "rows.csv").read_bytes() == before[tmp_path / "part.jpg"]
