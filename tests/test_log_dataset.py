"""Overrides on the line become photos for the next training; the old split does not change."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import save_photo
from qc_lightning import log as log_command
from qc_lightning.inference import log_file
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.kept_photos import KeptPhotos
from qc_lightning.inference.log_entry import Entry
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.verdict import Verdict

LogCall = Callable[..., tuple[int, str, str]]


@pytest.fixture
def log(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> LogCall:
    """Call `qc-lightning log ARGS`: exit code, stdout, stderr."""
    return lambda *arguments: (call(log_command.main, *map(str, arguments)), *capsys.readouterr())


def line(folder: Path, photos: list[Path], said: dict[int, str], names: tuple[str, str] = ("gut", "schlecht")) -> Path:
    """A log of these photos, all REVIEW, some overridden by number; part 7 was photographed twice."""
    path = folder / "line.sqlite"
    log, kept = VerdictLog(path), KeptPhotos(folder / "line_photos", True, 10**9)
    model = log_file.register(path, json.dumps({"metadata": {"class_names": names}, "drift": None}))
    entries = []
    for number, photo in enumerate(photos):
        sha256 = hashlib.sha256(photo.read_bytes()).hexdigest()
        found = Inspection(None, sha256, Verdict.REVIEW, 0.5, 0.0, 0.5, None, "", "m", 0.0, "")
        kept.keep(photo.read_bytes(), found)
        entries.append(Entry.inspected(found, "7" if number < 2 else "", "top", model, "", 1.0))
        log.submit(entries[-1]).result(30)
    for number, verdict in said.items():
        log.submit(entries[number].override(number + 1, Verdict[verdict], "Anna", "")).result(30)
    log.close()
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_overridden_photos_go_into_a_folder_for_each_class(tmp_path: Path, log: LogCall) -> None:
    photos = [save_photo(tmp_path / "in" / f"{seed}.png", bright=False, seed=seed) for seed in range(5)]
    path = line(tmp_path, photos, {0: "PASS", 1: "REJECT", 2: "REJECT", 3: "REJECT"})
    again = VerdictLog(path)
    entry = next(iter(log_file.query(path, "WHERE id = 3"))).entry
    again.submit(entry.override(3, Verdict.PASS, "Bert", "looked again")).result(30)
    again.close()
    next((tmp_path / "line_photos").glob(f"*/{hashlib.sha256(photos[3].read_bytes()).hexdigest()}.*")).unlink()
    code, out, _ = log(path, "dataset", tmp_path / "new")
    assert (code, "2 gut, 1 schlecht" in out, "1 that were not kept" in out) == (0, True, True)
    rows = table(tmp_path / "new" / "labels.csv")
    found = {(tmp_path / "new" / row["path"]).read_bytes(): row for row in rows}
    assert [found[photo.read_bytes()]["label"] for photo in photos[:3]] == ["gut", "schlecht", "gut"], (
        "the newest counts"
    )
    assert [row["group"] for row in rows[:2]] == ["line/7", "line/7"], "photos of one part stay together"
    code, _, err = log(path, "dataset", tmp_path / "new")
    assert (code, "already exists" in err) == (2, True)


def test_nothing_to_learn_from_is_one_line(tmp_path: Path, log: LogCall) -> None:
    path = line(tmp_path, [save_photo(tmp_path / "a.png", bright=False, seed=0)], {})
    code, _, err = log(path, "dataset", tmp_path / "new")
    assert (code, err.count("\n"), "nobody has overridden" in err) == (2, 1, True)
    assert not (tmp_path / "new").exists()
    code, _, err = log(path, "dataset", tmp_path / "new", f"beside={tmp_path / 'no.csv'}")
    assert (code, "cannot read" in err) == (2, True)


def test_kinds_and_cameras_of_the_old_split_stay(tmp_path: Path, log: LogCall) -> None:
    photos = [save_photo(tmp_path / "in" / f"{seed}.png", bright=False, seed=seed) for seed in range(2)]
    path = line(tmp_path, photos, {0: "REJECT"})
    columns = "path,label,group,subset,sha256"
    for more, old, new in ((",kind,camera", ",dent,side", ["", "top"]), (",kind", ",dent", [""]), ("", "", [])):
        (tmp_path / "split.csv").write_text(f"{columns}{more}\na.png,schlecht,a,test,00{old}\n")
        folder = tmp_path / f"new{len(more)}"
        assert log(path, "dataset", folder, f"beside={tmp_path / 'split.csv'}")[0] == 0
        rows = table(folder / "labels.csv")
        assert ",".join(rows[0]) == columns + more
        assert [list(row.values())[5:] for row in rows] == [old.split(",")[1:], new]


@pytest.mark.slow
def test_a_training_takes_them_beside_the_old_photos(
    tmp_path: Path, photo_root: Path, train: Callable[..., tuple[int, Path, str]], log: LogCall
) -> None:
    small = ["data.image_size=16", "model.hidden=[]", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    code, run, out = train(f"data.root={photo_root}", *small)
    assert code == 0, out
    before = table(run / "split.csv")
    photos = [save_photo(tmp_path / "in" / f"{seed}.png", bright=seed % 2 == 1, seed=500 + seed) for seed in range(4)]
    old = Path(next(row["path"] for row in before if row["subset"] == "test"))
    said = {0: "PASS", 1: "REJECT", 2: "PASS", 3: "REJECT", 4: "REJECT"}
    path = line(tmp_path, [*photos, old], said, ("Correct", "Incorrect"))
    code, out, _ = log(path, "dataset", tmp_path / "new", f"beside={run / 'split.csv'}")
    assert (code, "2 Correct, 2 Incorrect from the line, 40 from the old split" in out) == (0, True)
    assert "1 that the old split has" in out
    code, second, out = train(f"data.manifest={tmp_path / 'new' / 'labels.csv'}", *small)
    assert code == 0, out
    after = {row["sha256"]: row["subset"] for row in table(second / "split.csv")}
    assert {row["sha256"]: row["subset"] for row in before}.items() <= after.items(), "the old split is kept"
    new = [hashlib.sha256(photo.read_bytes()).hexdigest() for photo in photos]
    assert [after[sha256] for sha256 in new] == ["train"] * 4
