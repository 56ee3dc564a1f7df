"""`predict overlays=true`: a picture of each reject, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from predictions import read, save
from qc_lightning.data.decoding.decode import BadImage
from qc_lightning.explanation import explanations as explained
from qc_lightning.report import charts as plots

Predict = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, grey in {"box/bright.png": 200, "box/bright.jpg": 220, "dark.png": 20, "light.png": 250}.items():
        save(folder / name, grey)
    (folder / "broken.png").write_text("no photo")
    return folder


def pictures(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_each_reject_has_its_picture_and_verdicts_stay_the_same(typed: Predict, photos: Path) -> None:
    assert typed(f"source={photos}", "output=plain.csv")[0] == 3, "broken.png"
    code, _, errors = typed(f"source={photos}", f"output={photos}/drawn.csv", "overlays=true")
    assert code == 3, errors
    found = photos / "drawn_overlays"
    assert pictures(found) == {"box/bright.png.png", "box/bright.jpg.png", "light.png.png"}
    picture = np.asarray(Image.open(found / "light.png.png").convert("RGB"))
    assert picture.shape[1] > picture.shape[0] > 100, "three panels side by side"
    unlike = ("seconds", "time")
    plain, drawn = (
        [{key: value for key, value in row.items() if key not in unlike} for row in read(path)]
        for path in (Path("plain.csv"), photos / "drawn.csv")
    )
    assert plain == drawn
    # the pictures lie in the source's folder and are no photos
    code, out, _ = typed(f"source={photos}", f"output={photos}/drawn.csv", "overlays=true", "resume=true")
    assert "5 photos, 5 are done" in out


def test_a_kill_before_the_row_costs_no_picture(typed: Predict, photos: Path) -> None:
    arguments = (f"source={photos}/box", "overlays=true")
    assert typed(*arguments)[0] == 0
    output, folder = Path("verdicts.csv"), Path("verdicts_overlays")
    header, first, _ = output.read_text().splitlines(keepends=True)
    output.write_text(header + first + "torn")
    (folder / "bright.png.png").write_text("of another photo")
    assert typed(*arguments, "resume=true")[0] == 0
    assert len(read(output)) == 2
    Image.open(folder / "bright.png.png").load()
    output.unlink()
    code, _, errors = typed(*arguments)
    assert code == 2
    assert errors == f"error: {folder.absolute()} already exists: move it, or give another output=\n"


def test_a_photo_that_changes_meanwhile_keeps_its_verdict(
    typed: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise BadImage("truncated")

    monkeypatch.setattr(explained, "decode_whole", gone)
    assert typed(f"source={photos}/light.png", "overlays=true")[0] == 3
    (row,) = read(Path("verdicts.csv"))
    assert (row["verdict"], row["error"]) == ("REJECT", "no overlay: truncated")


def test_a_disk_that_cannot_be_written_ends_it_in_one_line(
    typed: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "save", full)
    code, _, errors = typed(f"source={photos}/light.png", "overlays=true")
    assert code == 2
    assert "error: overlays: cannot write to" in errors
    assert "No space left on device; then resume=true" in errors
    assert read(Path("verdicts.csv")) == [], "a row follows its picture"
