"""Folders that `predict` reads, watches and sorts into."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from predictions import names, save, tree
from qc_lightning.inference.sources import find_photos
from qc_lightning.inference.watch import FolderWatcher

Predict = Callable[..., tuple[int, str, str]]
NOWHERE = Path("/nowhere")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photos of greys 0, 25, ... 225, in two folders."""
    for i in range(10):
        save(tmp_path / "photos" / f"box {i // 5}" / f"{i}.png", 25 * i)
    return tmp_path / "photos"


def test_a_folder_a_glob_and_a_list_give_each_photo_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    (photos / ".hidden").mkdir()
    save(photos / ".hidden" / "x.png", 1)
    (photos / "notes.md").write_text("no photo")
    (photos / "box 1" / "up").symlink_to(photos)
    (photos / "box 1" / "loop").symlink_to("loop")

    def found(source: str) -> list[str]:
        listed = find_photos(source, [NOWHERE])
        return [str((listed.root / name).relative_to(photos)) for name in listed.names]

    everything = [f"box {i // 5}/{i}.png" for i in range(10)]
    assert found(".") == found(str(photos)) == everything, "each once, though a link leads back up"
    assert found("box 0/*.png") == everything[:5]
    assert found("box*") == everything, "a glob's folders are looked through"
    assert found("**/[3-6].png") == everything[3:7]
    assert found("box 1/7.png") == ["box 1/7.png"]
    (photos / "list.txt").write_text(f"box 1/9.png\n\nbox 0/3.png\r\n{photos}/box 0/3.png\n./box 0/../box 0/4.png\n")
    assert found("list.txt") == ["box 1/9.png", "box 0/3.png", "box 0/4.png"], "the list's order, each once"
    (photos / "list.csv").write_text('part,path\n1,box 1/8.png\n2,"box 0/0.png"\n')
    assert found("list.csv") == ["box 1/8.png", "box 0/0.png"]
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    (elsewhere / "a.txt").write_text("../photos/box 0/1.png\n")
    assert found(str(elsewhere / "a.txt")) == ["box 0/1.png"], "paths count from the list's folder"


def test_sorted_copies_lie_in_the_folder_of_their_verdict(predict: Predict, photos: Path) -> None:
    (photos / "box 1" / "bad.png").write_bytes(b"x")
    assert predict(f"source={photos}", "sort=copy")[0] == 3
    assert tree(Path("verdicts_sorted")) == {
        "REVIEW/box 1/bad.png",
        *(f"{'REJECT' if 25 * i >= 127.5 else 'PASS'}/box {i // 5}/{i}.png" for i in range(10)),
    }
    assert Path("verdicts_sorted/PASS/box 0/3.png").read_bytes() == (photos / "box 0" / "3.png").read_bytes()
    assert not Path("verdicts_sorted/PASS/box 0/3.png").is_symlink()


def test_sorting_never_overwrites_nor_mixes(predict: Predict, photos: Path) -> None:
    predict(f"source={photos}/box 0", "sort=copy")
    Path("verdicts.csv").unlink()
    code, _, errors = predict(f"source={photos}/box 0", "sort=copy")
    assert code == 2
    assert "verdicts_sorted already exists" in errors
    for i in range(5):  # other photos with the same names
        save(photos / "box 0" / f"{i}.png", 25 * i + 1)
    Path("verdicts.csv").touch()
    assert predict(f"source={photos}/box 0", "sort=copy", "resume=true")[0] == 0
    contents = [path.read_bytes() for path in Path("verdicts_sorted/PASS").iterdir()]
    assert len(contents) == len(set(contents)) == 10
    Path("verdicts.csv").write_bytes(b"")  # killed before the first row: all photos are already in place
    assert predict(f"source={photos}/box 0", "sort=copy", "resume=true")[0] == 0
    assert len(list(Path("verdicts_sorted/PASS").iterdir())) == 10


def test_sorted_links_stay_below_their_folder(predict: Predict, photos: Path) -> None:
    folder = Path("lists")
    folder.mkdir()
    (folder / "a.txt").write_text(f"../../photos/box 0/1.png\n{photos}/box 1/9.png\n")
    assert predict("source=lists/a.txt", "sort=link", "output=out/v.csv")[0] == 0
    assert tree(Path()) == {"lists/a.txt", "out/v.csv"} | {
        f"out/v_sorted/{verdict}{photos}/{name}"
        for verdict, name in (("PASS", "box 0/1.png"), ("REJECT", "box 1/9.png"))
    }
    assert Path(f"out/v_sorted/PASS{photos}/box 0/1.png").readlink() == photos / "box 0" / "1.png"


def test_sorted_photos_are_no_source(predict: Predict) -> None:
    save(Path("a.png"), 10)
    assert predict("source=.", "sort=copy")[0] == 0
    assert predict("source=.", "sort=copy", "resume=true")[0] == 0
    assert names(Path("verdicts.csv")) == ["a.png"]


def test_arrivals_wait_until_a_file_stands_still(tmp_path: Path) -> None:
    arrivals = FolderWatcher(
        tmp_path, [NOWHERE], lambda name: name != "done.png", lambda _: None, settle=0.2, patience=0.6
    )
    save(tmp_path / "done.png", 1)
    good = save(tmp_path / "a.png", 10).read_bytes()
    assert arrivals.ready() == [], "it has just come"
    time.sleep(0.1)
    (tmp_path / "a.png").write_bytes(good[:50])
    assert arrivals.ready() == []
    time.sleep(0.15)
    assert arrivals.ready() == [], "it has changed since"
    time.sleep(0.1)
    assert arrivals.ready() == ["a.png"]
    assert not arrivals.settled(tmp_path / "a.png", "", readable=False), "perhaps the rest is to come"
    assert arrivals.ready() == [], "not at once again"
    (tmp_path / "a.png").write_bytes(good)
    arrivals.ready()
    time.sleep(0.25)
    assert arrivals.ready() == ["a.png"]
    assert arrivals.settled(tmp_path / "a.png", "", readable=True)
    (tmp_path / "torn.png").write_bytes(good[:50])
    arrivals.ready()
    time.sleep(0.7)
    assert arrivals.ready() == ["torn.png"]
    assert arrivals.settled(tmp_path / "torn.png", "", readable=False), "nothing more has come for too long"
    (tmp_path / "moved.png").write_bytes(good)
    arrivals.ready()
    (tmp_path / "moved.png").unlink()
    time.sleep(0.25)
    assert arrivals.ready() == [], "taken away again"


def test_a_watched_folder_gives_every_photo_a_row_once_it_is_complete(predict: Predict, photos: Path) -> None:
    """Existing photos, later ones, and one in two halves; after Ctrl-C everything is written."""

    def bring() -> None:
        output = Path("verdicts.csv")
        while not output.exists():
            time.sleep(0.02)
        whole = (photos / "box 1" / "9.png").read_bytes()
        (photos / "slow.png").write_bytes(whole[:40])
        while output.read_bytes().count(b"\n") < 11:
            time.sleep(0.02)
        with (photos / "slow.png").open("ab") as file:
            file.write(whole[40:])
        while output.read_bytes().count(b"\n") < 12:
            time.sleep(0.02)
        (photos / "torn.png").write_bytes(whole[:40])
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=bring)
    thread.start()
    code, output, errors = predict(f"source={photos}", "watch=true")
    thread.join()
    assert code == 0
    assert "still on their way and without a row: 1" in errors
    assert names(Path("verdicts.csv")) == [*(f"{i}.png" for i in range(10)), "slow.png"]
    assert "6 PASS, 5 REJECT" in output
