"""Photos by address: file:// replaces object storage, which uses the same file systems (see test_cluster)."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import save_photo
from qc_lightning.core.errors import UserError
from qc_lightning.core.ray_environment import prepare_ray
from qc_lightning.core.run import Run
from qc_lightning.data.sources.mirror import mirror
from qc_lightning.data.sources.remote import find_remote, is_address
from qc_lightning.prediction.part_files import PartFolder
from qc_lightning.prediction.rows import Row

Predict = Callable[..., tuple[int, str, str]]


def row(path: str, verdict: str = "PASS", error: str | None = None) -> Row:
    said = error, "2026-01-01T00:00:00Z", 0.5, -1e-7, None, None
    return Row(path, "ab", 0.1 + 0.2, verdict, 0.5, "model", *said, None, "top", "none")


def test_an_address_is_told_from_a_path() -> None:
    assert [is_address(text) for text in ("s3://a/b.png", "gs://a", "/a/b", "a:b", "c://", "//a", "1s://a")] == [
        True, True, False, False, True, False, False,
    ]  # fmt: skip


def test_photos_below_an_address(photo_root: Path) -> None:
    (photo_root / "Correct" / "notes.txt").touch()
    (photo_root / "Correct" / ".hidden.png").touch()
    (photo_root / "Correct" / "phone.heic").touch()
    found = find_remote(f"file://{photo_root}")
    assert len(found) == 41, "what may be a photo but is not read has a row too"
    assert found[0] == f"file://{photo_root}/Correct/c00.png"
    with pytest.raises(UserError, match="expected photos in"):
        find_remote(f"file://{photo_root}/none")


def test_a_mirror_copies_what_is_new_and_forgets_what_has_gone(photo_root: Path, tmp_path: Path) -> None:
    folder = mirror(f"file://{photo_root}", tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert len(before) == 40
    save_photo(photo_root / "Correct" / "c00.png", bright=True, seed=1, size=41)
    (photo_root / "Correct" / "c01.png").unlink()
    assert mirror(f"file://{photo_root}/", tmp_path / "cache") == folder
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert before.keys() - after.keys() == {folder / "Correct/c01.png"}
    assert [path.name for path, time in after.items() if before[path] != time] == ["c00.png"]
    for name in ("Correct/c00.png", "Incorrect/i07.png"):
        assert (folder / name).read_bytes() == (photo_root / name).read_bytes()


def test_two_processes_that_mirror_at_once_copy_each_photo_once(photo_root: Path, tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from qc_lightning.data.sources.mirror import mirror
from qc_lightning.data.sources.remote import RemotePhoto
read = RemotePhoto.read
RemotePhoto.read = lambda self: (time.sleep(float(sys.argv[3])), read(self))[1]
folder = mirror(sys.argv[1], Path(sys.argv[2]))
print(sorted((path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*.png")))
"""
    command = [sys.executable, "-c", program, f"file://{photo_root}", str(tmp_path / "cache")]
    slow = ("0.2", "0.5")  # long enough that both are working, and the second would end last
    both = [subprocess.Popen([*command, seconds], stdout=subprocess.PIPE, text=True) for seconds in slow]
    seen = [process.communicate(timeout=60)[0] for process in both]
    assert seen[0].count(".png") == 40
    assert seen[0] == seen[1]  # none was replaced after one of them had seen it


def test_training_on_photos_in_a_store(train: Callable[..., tuple[int, Path, str]], photo_root: Path) -> None:
    small = ("data.image_size=16", "model.hidden=[8]", "trainer.max_epochs=2", "report=false")
    figures = []
    for root in (str(photo_root), f"file://{photo_root}"):
        code, run, said = train("data=folder", f"data.root={root}", *small)
        assert code == 0, said
        figures.append(json.loads((run / "metrics.json").read_text())["test"])
    assert figures[0] == figures[1]


def test_one_machine_reads_no_store(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://bucket/a.png\n")
    for source in ("s3://bucket", tmp_path / "list.txt"):
        code, _, errors = predict(f"source={source}")
        assert code == 2
        assert "is in object storage: give engine=ray ray.address=local" in errors


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("az", "adlfs"), ("s3", "s3fs")])
def test_a_store_without_its_package_is_one_line(scheme: str, package: str, typed: Predict) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    for place in (f"source={scheme}://bucket/photos", f"output={scheme}://bucket/verdicts"):
        photo = [] if place.startswith("source") else ["source=photo.png"]
        Path("photo.png").touch()
        code, _, errors = typed(place, *photo, "engine=ray", "ray.address=local")
        assert (code, errors.count("\n")) == (2, 1), errors
        assert f"{scheme}://bucket" in errors
        assert f"pip install {package}" in errors


def test_a_worker_reads_a_store(run_folder: Path, photo_root: Path, tmp_path: Path) -> None:
    """A store outside the machine's file systems: in this process's memory."""
    import fsspec

    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.inference.sources import find_everywhere
    from qc_lightning.metrics.verdict import Verdict
    from qc_lightning.prediction.on_ray import InspectionWork

    store = fsspec.filesystem("memory")
    store.put(str(photo_root), "/line/photos", recursive=True)
    try:
        photos = list(find_everywhere("memory://line/photos"))
        assert len(photos) == 40
        inspector = Inspector.load(Run(run_folder), "cpu", Verdict.REVIEW)
        work = InspectionWork(inspector, "cpu", 8, 1)
        tasks = [json.dumps([photo, "", None]).encode() for photo in [*photos, "memory://line/gone.png"]]
        *rows, gone = [json.loads(result) for result in work(tasks)]
        for photo, result in zip(photos, rows, strict=True):
            local = inspector(photo_root / photo.removeprefix("memory://line/photos/"))
            assert result["path"] == photo
            assert (result["probability"], result["sha256"]) == (local.probability, local.sha256)
        assert (gone["verdict"], gone["error"]) == ("REVIEW", "no such file or directory")
        parts = PartFolder("memory://line/verdicts.jsonl", resume=False).begin({"photos": 1})
        parts.add(Row(**rows[0]))
        parts.finish(complete=True)
        assert PartFolder("memory://line/verdicts.jsonl", resume=True).written.sha256 == {photos[0]: rows[0]["sha256"]}
        with pytest.raises(UserError, match="already exists"):
            PartFolder("memory://line/verdicts.jsonl", resume=False)
    finally:
        store.rm("/line", recursive=True)


@pytest.mark.parametrize("name", ["out", "out.jsonl"])
@pytest.mark.parametrize("address", [True, False])
def test_parts_are_read_back_as_they_were_written(name: str, address: bool, tmp_path: Path) -> None:
    output = f"{'file://' if address else ''}{tmp_path}/{name}"
    parts = PartFolder(output, resume=False).begin({"photos": 3})
    parts.add(row("a"))
    parts.flush()
    parts.add(row("b", "REJECT"))
    parts.flush(if_due=True)
    assert len(list((tmp_path / name).glob("part-*"))) == 1, "it is not due yet"
    assert json.loads((tmp_path / name / "index.json").read_text())["complete"] is False
    with pytest.raises(UserError, match="already exists"):
        PartFolder(output, resume=False)
    with pytest.raises(UserError, match="another process is writing"):
        PartFolder(output, resume=True).begin({})
    parts.finish(complete=False)
    again = PartFolder(output, resume=True)
    assert again.written.sha256 == {"a": "ab", "b": "ab"}
    assert again.written.models == {"model"}
    again.begin({"photos": 3}).add(row("c", "REVIEW", "no"))
    again.finish(complete=True)
    index = json.loads((tmp_path / name / "index.json").read_text())
    assert (index["rows"], index["verdicts"], index["errors"]) == (3, {"PASS": 1, "REJECT": 1, "REVIEW": 1}, 1)
    assert sorted(part["file"] for part in index["parts"]) == sorted(
        part.name for part in (tmp_path / name).glob("part-*")
    )


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"expected the index\.json of an earlier prediction"):
        PartFolder(str(tmp_path), resume=True)
    with pytest.raises(UserError, match="writes a folder"):
        PartFolder(str(tmp_path / "notes.txt"), resume=False)


def test_ray_gets_a_token_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare_ray()
    assert "RAY_AUTH_MODE" not in os.environ, "Ray would refuse to begin without a token"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 32)
    prepare_ray()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    prepare_ray()
    assert os.environ["RAY_AUTH_MODE"] == "disabled", "what the user has set stays"
