"""An Inspector from Python: the verdicts of `predict`, for every form of a photo."""

import csv
import dataclasses
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.stream import Stream
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict


@pytest.fixture
def inspector(run_folder: Path) -> Inspector:
    return Inspector.load(run_folder, "cpu")


def photo(seed: int, height: int = 48, width: int = 80) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(60, 200, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Photos of several kinds; the large JPEG is decoded at a smaller scale."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        photo(number).save(folder / f"{number}.png")
    photo(7, 900, 1200).save(folder / "large.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(8).save(folder / "turned.jpg", exif=turned)
    photo(9).quantize(8).save(folder / "palette.gif")
    Image.fromarray(np.random.default_rng(3).integers(0, 65536, (40, 50), dtype=np.uint16)).save(folder / "wide.png")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:60])
    return sorted(folder.iterdir())


def told(one: Inspection) -> tuple[object, ...]:
    return one.sha256, one.verdict, one.probability, one.logit, one.threshold, one.novelty, one.reason, one.error


def test_a_photo_alone_in_a_list_and_in_predict_is_the_same_to_the_last_digit(
    inspector: Inspector, files: list[Path], predict: Callable[..., tuple[int, str, str]]
) -> None:
    assert predict(f"source={files[0].parent}")[0] == 3
    with Path("verdicts.csv").open(newline="") as lines:
        rows = {row["path"]: row for row in csv.DictReader(lines)}
    together = inspector(list(files))
    for path, one in zip(files, together, strict=True):
        assert told(inspector(path)) == told(inspector(str(path))) == told(one)
        row = rows[str(path)]
        for name in ("sha256", "verdict", "probability", "logit", "threshold", "reason", "error", "model_id"):
            value = getattr(one, name)
            assert row[name] == ("" if value is None else str(value)), name
    assert [one.path for one in together] == files
    assert sum(one.error != "" for one in together) == 1


def test_bytes_pictures_and_pixels_are_decoded_as_files_are(inspector: Inspector, files: list[Path]) -> None:
    for path in files:
        from_file = inspector(path)
        assert told(inspector(path.read_bytes())) == told(from_file)
        if path.name == "broken.png":
            continue
        with Image.open(path) as opened:
            assert told(inspector(opened)) == told(from_file), path.name
            opened.load()
            if path.suffix == ".png":
                again = inspector(opened)
                assert (again.logit, again.sha256, again.path) == (from_file.logit, "", None)
    with Image.open(files[0]) as opened:
        assert inspector(np.asarray(opened)).logit == inspector(files[0]).logit


def test_threads_do_not_change_a_digit(inspector: Inspector, files: list[Path]) -> None:
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append([told(one) for one in inspector(files)])
    torch.set_num_threads(threads)
    assert results[0] == results[1]


def test_a_photo_alone_goes_through_a_small_network_on_one_core(
    inspector: Inspector, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cores that share a photo wait for each other on a busy machine: 100 ms per photo instead of 17."""
    seen, scores, threads = [], Inspector.scores, torch.get_num_threads()
    monkeypatch.setattr(Inspector, "scores", lambda *given: seen.append(torch.get_num_threads()) or scores(*given))
    torch.set_num_threads(2)
    try:
        with Stream(inspector, 8) as stream:
            ((alone,),) = stream.inspect(files[:1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert seen == [1]
    assert told(alone) == told(inspector(files[0]))


def test_a_photo_that_cannot_be_read_is_never_passed(run_folder: Path, tmp_path: Path) -> None:
    result = Inspector.load(run_folder, "cpu")(b"no image")
    assert (result.verdict, result.reason) == (Verdict.REVIEW, "cannot be read")
    assert "known format" in result.error
    assert result.probability is result.logit is None
    strict = Inspector.load(run_folder, "cpu", Verdict.REJECT)
    assert strict(tmp_path / "gone.jpg").verdict is Verdict.REJECT
    with pytest.raises(ValueError, match="REVIEW or REJECT"):
        Inspector.load(run_folder, "cpu", Verdict.PASS)


@pytest.mark.parametrize(
    ("photo", "error"),
    [
        (np.zeros((16, 16, 3)), TypeError),
        (np.zeros((16, 16, 3), np.uint16), TypeError),
        (np.zeros((3, 16, 16), np.uint8), ValueError),
        (np.zeros((16, 16), np.uint8), ValueError),
        (np.zeros((0, 16, 3), np.uint8), ValueError),
        (17, TypeError),
        (None, TypeError),
    ],
)
def test_what_is_no_photo_is_refused(inspector: Inspector, photo: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        inspector(photo)  # type: ignore[arg-type]
    with pytest.raises(error, match="expected"):
        inspector([photo])  # type: ignore[list-item]


def test_decoded_pixels_of_another_size_are_refused(inspector: Inspector) -> None:
    right = np.zeros((2, 3, 16, 16), np.uint8)
    assert inspector.probabilities(right).shape == (2,)
    assert inspector.probabilities(right[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"\['B', 3, 16, 16\]"):
        inspector.probabilities(np.zeros((2, 3, 512, 512), np.uint8))
    with pytest.raises(ValueError, match="decoded"):
        inspector.probabilities(right[0])
    with pytest.raises(TypeError, match="uint8"):
        inspector.probabilities(right.astype(np.float32))


def test_a_run_is_found_by_itself_its_folder_or_its_checkpoint(run_folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "best.ckpt"
    shutil.copy(Run(run_folder).best, alone)
    bare = tmp_path / "bare"
    shutil.copytree(run_folder, bare)
    (bare / "split.csv").unlink()
    places = (Run(run_folder), str(run_folder), alone, bare)
    assert len({told(Inspector.load(where, "cpu")(photo(1))) for where in places}) == 1
    with pytest.raises(UserError, match="expected a run folder"):
        Inspector.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="checkpoint"):
        Inspector.load(tmp_path)


def test_a_reviewed_photo_says_why(inspector: Inspector) -> None:
    bright = np.full((16, 16, 3), 140, np.uint8)
    p = inspector(bright).probability
    assert p is not None
    unsure = dataclasses.replace(inspector, decision=Decision(0.5, "", (0.0, 1.0)))
    assert unsure(bright).verdict is Verdict.REVIEW
    assert unsure(bright).reason == f"cannot tell: {p:.3f} lies between 0.000 and 1.000"
    assert inspector(bright).reason == ""
    with pytest.raises(dataclasses.FrozenInstanceError):
        inspector(bright).verdict = Verdict.PASS  # type: ignore[misc]


def test_a_photo_held_in_memory_is_left_as_it_is(inspector: Inspector) -> None:
    stream = io.BytesIO()
    photo(5, 600, 800).save(stream, "JPEG")
    opened = Image.open(stream)
    inspector(opened)
    assert (opened.size, opened.mode) == ((800, 600), "RGB")
    assert np.asarray(opened).shape == (600, 800, 3), "not at the scale that the network needs"


LEAN = """
import sys
from qc_lightning.inference.inspection import Inspection
heavy = ("torch", "hydra", "omegaconf", "lightning", "scipy", "matplotlib")
print([name for name in heavy if name in sys.modules])
"""


def test_an_inspection_needs_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
