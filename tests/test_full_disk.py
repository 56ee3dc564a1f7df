"""Full or read-only disks, and paths that are no folders: one line, before work starts if possible; no torn files."""

import errno
import gc
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import forked
import full_disk
from qc_lightning.core.atomic import write_text
from qc_lightning.core.errors import UserError
from qc_lightning.core.room import check_room, without_room
from qc_lightning.core.run import Run
from qc_lightning.evaluation.evaluation_set import split_photos
from qc_lightning.inference.tables import write_xlsx


def test_a_place_that_takes_files_is_left_as_it_was(tmp_path: Path) -> None:
    check_room(tmp_path / "not" / "there" / "yet")
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"expected room for results in .*file/results: Not a directory"):
        check_room(tmp_path / "file" / "results")


def test_a_full_disk_is_named_by_the_file_that_was_to_be_written() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left") as caught, full.open("w") as file:
        file.write("x")
    line = without_room(caught.value)
    assert line == "expected room for the results: No space left on device; make room or name another place"
    assert without_room(OSError(errno.EIO, "Input/output error")) is None, "a broken disk is no full one"


def test_the_name_is_the_final_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(tmp_path / "table.csv", "a,b\n")
    assert caught.value.filename == str(tmp_path / "table.csv")
    assert not list(tmp_path.iterdir())


def test_a_split_that_was_cut_off_is_damaged_and_no_shorter_one(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_text(run.split, "path,label,group,subset,sha256\na.png,Correct,a,test,\nb.png,Correct,b,test,\n")
    assert len(split_photos(run)) == 2
    write_text(run.split, run.split.read_text()[:-2])
    with pytest.raises(UserError, match=r"split.csv is damaged \(it is cut off\)"):
        split_photos(run)


def test_a_workbook_without_room_leaves_no_traceback(tmp_path: Path) -> None:
    """openpyxl's archive, if a full disk stops it, is closed again when it is collected, and fails again."""
    pytest.importorskip("openpyxl")
    rows = [(str(number), number / 7) for number in range(40)]

    def write() -> None:
        sys.unraisablehook = sys.__unraisablehook__  # pytest has its own
        with suppress(OSError):
            write_xlsx(Path("rows.xlsx"), {"name": str, "value": float}, rows)
        gc.collect()

    for size in (600, 3000, 4000, 5000, 20_000):
        end = forked.run(write, tmp_path, partial(full_disk.limit_files, size))
        assert (end.code, end.output) == (0, ""), size
        assert (tmp_path / "rows.xlsx").exists() == (size == 20_000)


@pytest.mark.slow
def test_no_command_leaves_anything_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make torture` runs all commands at thirty sizes."""
    monkeypatch.setenv("QC_LIGHTNING_CACHE", str(tmp_path / "cache"))
    template = tmp_path / "template"
    template.mkdir()
    full_disk.prepare(template)
    forked.import_all()
    tries = [("train", 70_000), ("evaluate", 100), ("decide", 2000), ("gauge", 100), ("audit", 100)]
    faults = [fault for command, size in tries if (fault := full_disk.faults_of(command, template, size))]
    assert not faults
    assert "expected room for results in" in full_disk.attempt("evaluate", template, 1000).output, "before the work"
