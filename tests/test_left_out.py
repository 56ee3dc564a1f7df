"""Files left out are named and counted; files that are not the user's photos are ignored."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import save_photo
from predictions import names, read, save
from qc_lightning.config import AnyData
from qc_lightning.core.errors import UserError
from qc_lightning.data.catalog import read_catalog
from qc_lightning.data.dataset import load_photos
from qc_lightning.data.sources.walk import Walk
from settings import data_settings

Predict = Callable[..., tuple[int, str, str]]


def config(root: Path, **changes: object) -> AnyData:
    return data_settings(root, **({"root": str(root)} | changes))


def counted(root: Path) -> Counter[int]:
    return Counter(photo.label for photo in read_catalog(config(root)).photos)


# --- endings


ENDINGS = ("heic", "HEIC", "avif", "dng", "jxl")


def test_endings_that_are_not_read_are_counted_in_training(photo_root: Path) -> None:
    good = (photo_root / "Incorrect/i00.png").read_bytes()
    for i, ending in enumerate(ENDINGS):
        (photo_root / f"Incorrect/{i}.{ending}").write_bytes(good)
    (photo_root / "Incorrect/copy.png_old").write_bytes(good)
    (photo_root / "Incorrect/no ending").write_bytes(save_photo(photo_root / "x.png", True, 999).read_bytes())
    (photo_root / "x.png").unlink()
    for name in ("notes.txt", "LICENSE", "Thumbs.db", "a.json", "empty"):
        (photo_root / "Correct" / name).write_text("x" * (name != "empty"))
    photos, notes = read_catalog(config(photo_root))
    assert Counter(photo.label for photo in photos) == {0: 20, 1: 21}, "what has no ending is known by its first bytes"
    (note,) = notes
    assert note.startswith("Files and folders left out: 6, for example Incorrect/0.heic, Incorrect/1.HEIC, ")
    assert "2: ending .heic is not read: save it as JPEG or PNG" in note
    assert "1: ending .png_old is not read" in note
    assert note in load_photos(config(photo_root)).notes, "it is among the warnings of the figures"


def test_endings_that_are_not_read_get_a_row_in_prediction(predict: Predict, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = save(folder / "a.png", 10).read_bytes()
    for i, ending in enumerate(ENDINGS):
        (folder / f"{i}.{ending}").write_bytes(good)
    (folder / "b").write_bytes(good)
    (folder / "notes.txt").write_text("no photo")
    assert predict(f"source={folder}")[0] == 3
    rows = read(Path("verdicts.csv"))
    assert len(rows) == len(ENDINGS) + 2
    for row in rows:
        suffix = Path(row["path"]).suffix.lower()
        if suffix in ("", ".png"):
            assert (row["verdict"], row["error"]) == ("PASS", "")
        else:
            assert row["verdict"] != "PASS"
            assert row["error"] == f"ending {suffix} is not read: save it as JPEG or PNG"
    assert predict(f"source={folder}", "resume=true")[0] == 3
    assert len(read(Path("verdicts.csv"))) == len(rows), "and once only"
    predict(f"source={folder}/*.heic", "output=g.csv")
    assert names(Path("g.csv")) == ["0.heic"]


def test_a_class_of_endings_that_are_not_read(photo_root: Path) -> None:
    for path in (photo_root / "Incorrect").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"found none \(Files and folders left out: 20.*ending \.heic is not read"):
        read_catalog(config(photo_root))


# --- folders


def test_a_folder_that_cannot_be_read(photo_root: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root can read everything: simulate the refusal that other users get."""
    (photo_root / "Incorrect/sub").mkdir()
    save_photo(photo_root / "Incorrect/sub/x.png", True, 5)
    scandir = os.scandir

    def refusing(path: object = ".") -> object:
        if str(path).rstrip("/").endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refusing)
    photos, notes = read_catalog(config(photo_root))
    assert len(photos) == 40
    assert notes == [
        "Files and folders left out: 1, for example Incorrect/sub (1: folder cannot be read: permission denied)."
    ]
    assert predict(f"source={photo_root}")[0] == 3
    rows = read(Path("verdicts.csv"))
    assert len(rows) == 41
    assert [row["error"] for row in rows if row["error"]] == ["permission denied"]
    assert predict(f"source={photo_root}", "resume=true")[0] == 3
    assert len(read(Path("verdicts.csv"))) == 41


@pytest.mark.parametrize("layout", [("train", "valid", "Test"), ("Training", "validation", "testing")])
def test_subset_folders_by_their_other_names(tmp_path: Path, layout: tuple[str, str, str]) -> None:
    for folder, count in zip(layout, (4, 2, 3), strict=True):
        for seed in range(count):
            save_photo(tmp_path / folder / "Correct" / f"{folder}{seed}.png", False, seed + 10 * count)
            save_photo(tmp_path / folder / "Incorrect" / f"{folder}{seed}.png", True, seed + 10 * count)
    save_photo(tmp_path / "holdout" / "Correct" / "1.png", False, 7)
    photos = load_photos(config(tmp_path))
    assert photos.counts() == {"train": (4, 4), "val": (2, 2), "test": (3, 3)}
    assert f"Photos left out: 1 in {tmp_path / 'holdout'}, which is no subset (train, val, test)." in photos.notes
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match=r"expected one val folder in .*, there are .* and .*: join them"):
        read_catalog(config(tmp_path))


def test_third_classes_and_stray_photos_are_counted(photo_root: Path) -> None:
    save_photo(photo_root / "Unsure/deep/1.png", True, 7)
    save_photo(photo_root / "masks/i00.png", True, 7)
    save_photo(photo_root / "overview.jpg", True, 7)
    assert read_catalog(config(photo_root)).notes == [
        f"Photos left out: 1 in {photo_root} itself, beside the folders.",
        f"Photos left out: 1 in {photo_root / 'Unsure'}, which is neither class.",
    ]


# --- taken in


def test_links_lead_nowhere_twice(photo_root: Path, tmp_path: Path, predict: Predict) -> None:
    (photo_root / "Incorrect/again").symlink_to(".")
    (photo_root / "Correct/up").symlink_to("..")
    (photo_root / "Correct/far up").symlink_to("../../..")
    (photo_root / "Correct/other class").symlink_to("../Incorrect")
    outside = tmp_path / "archive"
    save_photo(outside / "old.png", False, 77)
    (outside / "back").symlink_to(photo_root)
    (outside / "top").symlink_to("..")
    (photo_root / "Correct/archive").symlink_to(outside)
    (photo_root / "Correct/archive once more").symlink_to(outside)
    assert counted(photo_root) == {0: 21, 1: 20}
    predict(f"source={photo_root}")
    assert len(read(Path("verdicts.csv"))) == 41
    assert any(
        "links to folders that are looked into anyway" in note for note in read_catalog(config(photo_root)).notes
    )


@pytest.mark.parametrize(
    "folder", ["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "System Volume Information", "@Recycle"]
)
def test_folders_of_devices_hold_no_photos(photo_root: Path, folder: str, predict: Predict) -> None:
    save_photo(photo_root / "Correct" / folder / "SYNOPHOTO_THUMB_M.jpg", False, 7)
    photos, notes = read_catalog(config(photo_root))
    assert len(photos) == 40
    assert notes == ["Left out: folders of the system (previews, deleted files): 1."]
    _, output, _ = predict(f"source={photo_root}")
    assert len(read(Path("verdicts.csv"))) == 40
    assert "left out: folders of the system (previews, deleted files): 1" in output


def test_own_outputs_are_no_photos(photo_root: Path, predict: Predict, run_folder: Path) -> None:
    run = photo_root / "outputs/2026-01-01/10-00-00"
    save(run / "figures/confusion_matrix.png", 10)
    (run / "split.csv").touch()
    (run / "checkpoints").mkdir()
    save(photo_root / "explanations/sheets/1.png", 10)
    (photo_root / "explanations/explain.csv").touch()
    (photo_root / "explanations/explain.json").touch()
    for kind in ("sorted", "overlays"):
        save(photo_root / f"line1_{kind}/PASS/c.png", 10)
    save(photo_root / "well_sorted/mine.png", 10)
    (photo_root / "line1.csv").touch()
    _, output, _ = predict(f"source={photo_root}", f"output={photo_root}/new.csv")
    assert len(read(photo_root / "new.csv")) == 41, "a folder of the user's that is called so is not ours"
    assert "left out: folders that qc-lightning has written: 4" in output
    predict(f"source={run}/figures", "output=asked.csv")
    assert len(read(Path("asked.csv"))) == 1, "who asks for one by its name gets it"


def test_every_photo_once_and_in_no_other_order(photo_root: Path) -> None:
    walk = Walk(photo_root)
    found = list(walk.photos())
    assert sorted(found) == sorted(path.relative_to(photo_root).as_posix() for path in photo_root.rglob("*.png"))
    assert walk.unread == []
    assert not walk.passed_over


# --- tables


def table(root: Path, name: str, head: str, line: str) -> Path:
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*.png"))
    lines = [line.format(path=path, windows=path.replace("/", "\\"), label=path.split("/")[0]) for path in names]
    (root / name).write_text("\n".join([head, *lines]) + "\n")
    return root / name


def test_further_columns_are_named(photo_root: Path) -> None:
    manifest = table(photo_root, "extra.csv", "path,label,operator,shift", "{path},{label},Joe,night")
    photos, notes = read_catalog(config(photo_root, manifest=str(manifest)))
    assert len(photos) == 40
    assert notes == ["columns of extra.csv that are not used: operator, shift."]
    manifest = table(photo_root, "typo.csv", "path,label,grup", "{path},{label},1")
    with pytest.raises(UserError, match=r"unknown column 'grup' \(did you mean group\?\)"):
        read_catalog(config(photo_root, manifest=str(manifest)))


def test_paths_of_windows_get_a_hint(photo_root: Path) -> None:
    manifest = table(photo_root, "windows.csv", "path,label", "{windows},{label}")
    with pytest.raises(UserError, match=r"line 2: no file .*c00\.png; it has backslashes, as on Windows: write / betw"):
        read_catalog(config(photo_root, manifest=str(manifest)))


@pytest.mark.parametrize("field", ["x" * 5000, "x" * 200_000, "a\0b.png"])
def test_paths_that_no_file_system_takes(photo_root: Path, field: str) -> None:
    (photo_root / "m.csv").write_text(f"path,label\n{field},Correct\n")
    with pytest.raises(UserError, match=r"m\.csv, line \d: ") as caught:
        read_catalog(config(photo_root, manifest=str(photo_root / "m.csv")))
    assert len(str(caught.value)) < 700
