"""The parts set: the same photos on all machines, defects inside their masks, a complete folder or none."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from qc_lightning.core.errors import UserError
from qc_lightning.data.parts import photos as parts
from qc_lightning.data.parts.photos import Part, ensure_parts, label_of, render_part, render_sound

KINDS = {"missing hole", "crack", "dent", "scratch", "stain", "burr"}
# sha256 of the pixels of photos 0 to 19 of station 0 and of their masks, equal with NumPy 1.26.4 and 2.4.6, with and
# without AVX2. Another value means another dataset: then increase the version in the folder's name
GOLDEN = "f72468a5dc7150889ab200f8b3c1ea3bb682a9692095a44c83833c07895fc365"


def start(root: Path, count: int, **environment: str) -> subprocess.Popen[bytes]:
    call = (
        "import pathlib, qc_lightning.data.parts.photos as parts; "
        f"parts.ensure_parts(pathlib.Path({str(root)!r}), {count}, 0)"
    )
    return subprocess.Popen([sys.executable, "-c", call], env=os.environ | environment)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def draws() -> list[Part]:
    return [render_part(index, seed=7) for index in range(200)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_parts(tmp_path_factory.mktemp("whole"), 8, 0)


def test_pixels_are_the_published_ones() -> None:
    photos = [render_part(index, seed=0) for index in range(20)]
    assert {part.defect for part in photos} == KINDS | {""}
    pixels = b"".join(part.image.tobytes() + part.mask.tobytes() for part in photos)
    assert hashlib.sha256(pixels).hexdigest() == GOLDEN


def test_fresh_process_without_simd_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    simd = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    assert start(tmp_path, 8, NPY_DISABLE_CPU_FEATURES=" ".join(simd)).wait() == 0
    assert contents(tmp_path / whole.name) == contents(whole)


def test_worker_processes_give_the_same_bytes(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_POOL_FROM", 2)
    assert contents(ensure_parts(tmp_path, 8, 0)) == contents(whole)


def test_masks_are_empty_for_correct_only(draws: list[Part]) -> None:
    for part in draws:
        assert part.image.shape == (256, 256, 3)
        assert part.image.dtype == part.mask.dtype == np.uint8
        assert set(np.unique(part.mask)) == ({0, 255} if part.label else {0})
        assert bool(part.defect) == bool(part.label)


def test_every_kind_and_severity_occurs(draws: list[Part]) -> None:
    bad = [part for part in draws if part.label]
    assert len(bad) == 100
    assert {part.defect for part in bad} == KINDS
    assert min(part.severity for part in bad) < 0.1
    assert max(part.severity for part in bad) > 0.9


def test_defect_changes_the_photo_at_its_mask_and_nowhere_else(draws: list[Part]) -> None:
    for index, part in enumerate(draws):
        if part.label:
            change = np.abs(part.image.astype(int) - render_sound(index, seed=7)).max(axis=2)
            # the surface ends within a pixel of the mask, defocus carries it one pixel further
            near = np.asarray(Image.fromarray(part.mask).filter(ImageFilter.MaxFilter(5))) > 0
            assert not change[~near].any(), (index, part.defect)
            assert change[part.mask > 0].mean() > 2, (index, part.defect, part.severity)


def test_photos_vary_but_the_station_stays() -> None:
    here, there = (np.stack([render_sound(index, seed).mean(axis=2) for index in range(20)]) for seed in (7, 8))
    assert here.mean(axis=(1, 2)).std() > 3  # light and exposure, in grey levels
    # wear of the fixture plate above the pocket, averaged over halves of the photos to quiet their noise
    first, second, other = (photos[:, 3:17, 50:206].mean(axis=0).ravel() for photos in (here[:10], here[10:], there))
    assert np.corrcoef(first, second)[0, 1] > 0.9
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.4


def test_a_number_does_not_tell_the_class() -> None:
    labels = np.array([label_of(index, seed=0) for index in range(4000)]).reshape(-1, 2)
    assert (labels.sum(axis=1) == 1).all()
    assert 0.45 < labels[:, 0].mean() < 0.55


@pytest.mark.parametrize(("count", "correct"), [(8, 4), (7, 4), (5, 3), (1, 1)])
def test_folder_holds_what_the_table_says(count: int, correct: int, tmp_path: Path) -> None:
    folder = ensure_parts(tmp_path, count, 3)
    assert folder == tmp_path / f"parts-v1-{count}-3"
    with (folder / "parts.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["file", "label", "defect", "severity", "seed"]
    assert sum(row["label"] == "Correct" for row in rows) == correct
    assert len(rows) == count
    photos = {row["file"] for row in rows}
    masks = {f"masks/{Path(row['file']).stem}.png" for row in rows if row["label"] == "Incorrect"}
    assert set(contents(folder)) == photos | masks | {"parts.csv"}
    for row in rows:
        part = render_part(int(row["file"][-10:-4]), 3)
        assert row["file"].startswith(f"{('Correct', 'Incorrect')[part.label]}/part-")
        assert (row["defect"], row["severity"], row["seed"]) == (part.defect, f"{part.severity:.3f}", "3")
        with Image.open(folder / row["file"]) as photo:
            assert np.abs(np.asarray(photo).astype(int) - part.image).mean() < 4
        if part.label:
            with Image.open(folder / "masks" / f"{Path(row['file']).stem}.png") as mask:
                np.testing.assert_array_equal(np.asarray(mask), part.mask)


def test_whole_folder_is_left_alone(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert ensure_parts(whole.parent, 8, 0) == whole
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


@pytest.mark.parametrize(
    "harm", ["photo gone", "photo empty", "mask gone", "table cut", "table gone", "table rubbish", "stray photo"]
)
def test_damaged_folder_is_rendered_again(harm: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / whole.name
    shutil.copytree(whole, folder)
    photo = next((folder / "Correct").iterdir())
    match harm:
        case "photo gone":
            photo.unlink()
        case "photo empty":
            photo.write_bytes(b"")
        case "mask gone":
            next((folder / "masks").iterdir()).unlink()
        case "table cut":
            table = folder / "parts.csv"
            table.write_text("\n".join(table.read_text().splitlines()[:-1]))
        case "table gone":
            (folder / "parts.csv").unlink()
        case "table rubbish":
            (folder / "parts.csv").write_bytes(bytes(range(128, 256)) * 8)
        case "stray photo":
            photo.with_name("part-999999.jpg").write_bytes(b"x")
    assert contents(ensure_parts(tmp_path, 8, 0)) == contents(whole)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_two_processes_at_once_end_well_even_over_a_damaged_folder(whole: Path, tmp_path: Path) -> None:
    (tmp_path / whole.name / "Correct").mkdir(parents=True)
    both = [start(tmp_path, 8), start(tmp_path, 8)]
    assert [process.wait() for process in both] == [0, 0]
    assert contents(tmp_path / whole.name) == contents(whole)
    assert [path.name for path in tmp_path.iterdir()] == [whole.name]


def test_killed_render_leaves_no_folder_and_is_not_trusted(tmp_path: Path) -> None:
    process = start(tmp_path, 900)
    while not list(tmp_path.glob(".unfinished-*/*/*.jpg")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(tmp_path.glob("[!.]*")) == []
    folder = ensure_parts(tmp_path, 4, 0)
    assert len(contents(folder)) == 4 + 2 + 1
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "what the dead one left is gone"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are looked up in /proc")
def test_the_processes_of_a_killed_render_end_with_it(tmp_path: Path) -> None:
    process = start(tmp_path, 1200)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not list(tmp_path.glob(".unfinished-*/*/*.jpg")):
        assert process.poll() is None
        time.sleep(0.01)
    workers = children.read_text().split()
    assert len(workers) > 1, "else nobody renders beside it"
    process.kill()
    process.wait()
    until = time.monotonic() + 30
    while alive := [pid for pid in workers if _is_alive(pid)]:
        assert time.monotonic() < until, alive
        time.sleep(0.05)


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("count", "seed", "expected"), [(0, 0, "at least 1"), (4, -1, "seed"), (4, 2**32, "seed")])
def test_bad_numbers_are_refused(count: int, seed: int, expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=expected):
        ensure_parts(tmp_path, count, seed)


def test_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("")
    with pytest.raises(UserError, match=r"expected to write 4 photos to .*file"):
        ensure_parts(root, 4, 0)
