"""A verdict belongs to a file's bytes, not to its name: replaced, overwritten, rotated and growing files."""

import csv
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from predictions import save, tree
from qc_lightning.config import PredictConfig, parse
from qc_lightning.config.presets import CONF
from qc_lightning.core.fingerprint import sha256_of, stamp_of
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.stream import Stream
from qc_lightning.prediction.plan import Plan
from qc_lightning.prediction.shards import Shard

Predict = Callable[..., tuple[int, str, str]]
DARK, BRIGHT = 20, 200  # PASS and REJECT with the model of these tests


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def verdicts() -> list[tuple[str, str]]:
    return [(Path(row["path"]).name, row["verdict"]) for row in read(Path("verdicts.csv"))]


def bitmap(path: Path, grey: int) -> Path:
    """A photo whose file has the same size as all others here."""
    return save(path.with_suffix(".bmp"), grey)


def test_a_replaced_photo_gets_a_row_of_its_own(predict: Predict) -> None:
    photo = bitmap(Path("in/latest"), DARK)
    bitmap(Path("in/other"), DARK)
    info = photo.stat()
    assert predict("source=in")[0] == 0
    bitmap(photo, BRIGHT)
    os.utime(photo, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert (photo.stat().st_size, photo.stat().st_mtime_ns) == (info.st_size, info.st_mtime_ns), "to the eye the same"
    code, output, _ = predict("source=in", "resume=true")
    assert code == 0
    assert "2 photos, 1 are done, 1 have changed since their row and get another" in output
    assert verdicts() == [("latest.bmp", "PASS"), ("other.bmp", "PASS"), ("latest.bmp", "REJECT")]
    assert read(Path("verdicts.csv"))[-1]["sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest()
    os.utime(photo)
    assert predict("source=in", "resume=true")[0] == 0
    assert len(verdicts()) == 3, "touched is not changed"


def test_photos_that_rotate_through_names(predict: Predict) -> None:
    """Rotating names, as many cameras write them: at the next look each name is another photo of the same size."""
    names = [bitmap(Path(f"in/{i}"), grey) for i, grey in enumerate((DARK, BRIGHT, DARK))]
    predict("source=in")
    for name, following in ((0, "spare"), (1, 0), (2, 1), ("spare", 2)):
        Path(f"in/{name}.bmp").rename(f"in/{following}.bmp")
    predict("source=in", "resume=true")
    assert verdicts()[3:] == [("0.bmp", "REJECT"), ("1.bmp", "PASS")], "the third is as dark as the one before"
    assert {row["sha256"] for row in read(Path("verdicts.csv"))} == {sha256_of(name) for name in names}


def test_a_photo_that_was_half_written_is_inspected_when_it_is_whole(predict: Predict) -> None:
    photo = save(Path("in/a.png"), DARK)
    whole = photo.read_bytes()
    photo.write_bytes(whole[:50])
    assert predict("source=in")[0] == 3
    photo.write_bytes(whole)
    assert predict("source=in", "resume=true")[0] == 3, "the first row still says that it was not readable"
    assert [verdict for _, verdict in verdicts()][-1] == "PASS"
    assert len(verdicts()) == 2
    gone = Path("in/b.png")
    gone.symlink_to("nothing")
    predict("source=in", "resume=true")
    predict("source=in", "resume=true")
    assert len(verdicts()) == 3, "a link to nothing has one row, however often it is looked at"


def plan_of(run: Path, photo: Path) -> Plan:
    defaults = {name: value for name, value in OmegaConf.load(CONF / "predict.yaml").items() if name != "defaults"}
    given = {"run": str(run), "source": str(photo), "output": str(photo.parent.parent / "v.csv"), "device": "cpu"}
    ray = OmegaConf.load(CONF / "ray" / "cluster.yaml")
    config = parse(OmegaConf.create(defaults | given | {"ray": ray}), PredictConfig)
    return Plan.from_config(config, Shard())


@pytest.mark.parametrize("how", ["overwritten", "replaced", "grown"])
def test_a_photo_that_changes_while_it_is_inspected_has_no_verdict(how: str, run_folder: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "in/a.png", DARK)
    plan = plan_of(run_folder, photo).without_done(StopRequest())
    inspector = Inspector.load(plan.model, "cpu")
    with Stream(inspector, 8) as stream:
        ((found,),) = stream.inspect(next(iter(plan.rounds(StopRequest()))))
    assert found.verdict == "PASS"
    if how == "replaced":
        save(tmp_path / "new.png", BRIGHT).replace(photo)
    elif how == "overwritten":
        save(photo, BRIGHT)
    else:
        photo.write_bytes(photo.read_bytes() + b"\0")
    row = plan.row(found, "none", None)
    assert row is not None
    assert row.verdict != "PASS"
    assert row.probability is None
    assert "changed while it was inspected" in str(row.error)


def test_a_photo_that_was_only_touched_keeps_its_verdict(run_folder: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "in/a.png", DARK)
    plan = plan_of(run_folder, photo)
    inspector = Inspector.load(plan.model, "cpu")
    with Stream(inspector, 8) as stream:
        ((found,),) = stream.inspect(next(iter(plan.rounds(StopRequest()))))
    os.link(photo, tmp_path / "backup.png")  # like a backup: the inode has changed, the bytes have not
    row = plan.row(found, "none", None)
    assert row is not None
    assert row.verdict == "PASS"


def test_watching_a_name_that_is_overwritten(predict: Predict) -> None:
    photo = bitmap(Path("in/latest"), DARK)
    took = []

    def bring() -> None:
        output = Path("verdicts.csv")

        def wait_for(rows: int) -> None:
            while not output.exists() or output.read_bytes().count(b"\n") < rows + 1:
                time.sleep(0.01)

        wait_for(1)
        for grey in (BRIGHT, DARK):
            begun = time.monotonic()
            info = photo.stat()
            bitmap(photo, grey)
            os.utime(photo, ns=(info.st_atime_ns, info.st_mtime_ns))
            wait_for(2 + len(took))
            took.append(time.monotonic() - begun)
        os.utime(photo)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=bring)
    thread.start()
    code, _, errors = predict("source=in", "watch=true")
    thread.join()
    assert code == 0, errors
    assert [verdict for _, verdict in verdicts()] == ["PASS", "REJECT", "PASS"]
    assert max(took) < 10, "0.6 s on a machine with nothing else to do"
    bitmap(photo, BRIGHT)
    stop = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()
    assert predict("source=in", "watch=true", "resume=true")[0] == 0
    assert [verdict for _, verdict in verdicts()] == ["PASS", "REJECT", "PASS", "REJECT"]


def test_sorted_links_and_copies_follow_the_bytes(predict: Predict) -> None:
    for how in ("link", "copy"):
        photo = bitmap(Path("in/a"), DARK)
        folder = Path(f"{how}_sorted")
        predict("source=in", f"output={how}.csv", f"sort={how}")
        assert tree(folder) == {"PASS/a.bmp"}
        bitmap(photo, BRIGHT)
        predict("source=in", f"output={how}.csv", f"sort={how}", "resume=true")
        if how == "link":
            assert tree(folder) == {"REJECT/a.bmp"}, "in PASS it would now lead to the bad part"
        else:
            assert sha256_of(folder / "PASS/a.bmp") == read(Path("copy.csv"))[0]["sha256"]
            assert sha256_of(folder / "REJECT/a.bmp") == read(Path("copy.csv"))[1]["sha256"]


def test_an_overlay_is_of_the_bytes_of_the_last_row(predict: Predict) -> None:
    photo, overlay = bitmap(Path("in/a"), BRIGHT), Path("verdicts_overlays/a.bmp.png")
    predict("source=in", "overlays=true")
    before = overlay.read_bytes()
    predict("source=in", "overlays=true", "resume=true")
    assert overlay.read_bytes() == before
    bitmap(photo, BRIGHT + 40)
    predict("source=in", "overlays=true", "resume=true")
    assert [verdict for _, verdict in verdicts()] == ["REJECT", "REJECT"]
    assert overlay.read_bytes() != before


def test_names_that_a_table_has_to_quote(predict: Predict) -> None:
    names = {"a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "a;b", " a ", "=1+1"}
    for name in names:
        bitmap(Path("in") / name, BRIGHT)
    for again in (False, True):
        code, _, errors = predict("source=in", "sort=copy", f"resume={str(again).lower()}")
        assert code == 0, errors
        rows = read(Path("verdicts.csv"))
        assert {Path(row["path"]).stem.lstrip("'") for row in rows} == names
        assert len(rows) == len(names)
    assert tree(Path("verdicts_sorted")) == {f"REJECT/{name}.bmp" for name in names}


@pytest.mark.parametrize("setting", ["sort=copy", "sort=link", "overlays=true"])
def test_names_that_take_no_suffix_are_errors_of_those_photos(predict: Predict, setting: str) -> None:
    """The longest name has 255 bytes; an overlay's name is 4 longer, a second copy's 17."""
    good = save(Path("in/b.png"), BRIGHT)
    for name in (b"a" * 251 + b".png", "良".encode() * 83 + b".png", b"caf\xe9.png"):
        try:
            os.link(good, b"in/" + name)
        except OSError:
            pytest.skip("this file system takes no such names")
    code, _, errors = predict("source=in", setting)
    assert code == (3 if setting == "overlays=true" else 0), errors
    rows = {Path(row["path"]).name[:1]: row for row in read(Path("verdicts.csv"))}
    assert {name: row["verdict"] for name, row in rows.items()} == dict.fromkeys("abc良", "REJECT")
    assert rows["b"]["error"] == ""
    if setting == "overlays=true":
        assert rows["a"]["error"] == rows["良"]["error"] == "no overlay: file name too long"
        assert Path("verdicts_overlays/b.png.png").is_file()
    assert predict("source=in", setting, "resume=true")[0] == code, "and it continues behind them"
    assert len(verdicts()) == 4


def test_stamps_tell_files_apart_that_size_and_time_do_not(tmp_path: Path) -> None:
    photo, other = bitmap(tmp_path / "a", DARK), bitmap(tmp_path / "b", BRIGHT)
    for path in (photo, other):
        os.utime(path, ns=(1, 1))
    before = stamp_of(photo)
    other.replace(photo)
    assert stamp_of(photo) != before
    assert stamp_of(tmp_path / "none") is None
    os.mkfifo(tmp_path / "pipe")
    assert sha256_of(tmp_path / "pipe") == sha256_of(tmp_path / "none") == sha256_of(tmp_path) == ""


def test_photos_that_are_too_large_name_the_setting(predict: Predict) -> None:
    save(Path("in/a.png"), DARK, size=40)
    predict("source=in", "max_pixels=1000")
    (row,) = read(Path("verdicts.csv"))
    assert row["error"].endswith("to read it set data.max_pixels=1600, or max_pixels= in a prediction")
    assert predict("source=in", "output=b.csv", "max_pixels=1600")[0] == 0
