"""`python -m qc_lightning.robustness`: corruptions compared with SciPy, Pillow and arithmetic; rates by hand."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.stats import binomtest

from qc_lightning import decide
from qc_lightning import robustness as command
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.photo import Photo
from qc_lightning.evaluation.corruptions import CORRUPTIONS, corrupt
from qc_lightning.evaluation.robustness import VARIANTS, _rates, _scores, surely_above
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.models.mlp import MLP

Train = Callable[..., tuple[int, Path, str]]
Call = Callable[..., int]


def photo(size: int = 50, seed: int = 0) -> torch.Tensor:
    """A smooth photo: uint8 [1, 3, size, size]."""
    noise = np.random.default_rng(seed).uniform(0, 255, (3, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2), mode="mirror")
    return torch.from_numpy(np.clip((smooth - 127) * 4 + 127, 20, 235).astype(np.uint8))[None]


def worse(name: str, strength: float, number: int = 0, size: int = 50) -> np.ndarray:
    return corrupt(photo(size), name, strength, torch.tensor([number]))[0].numpy().astype(float)


def test_blur_is_scipys() -> None:
    expected = ndimage.gaussian_filter(photo()[0].numpy().astype(float), (0, 1, 1), mode="mirror", truncate=3)
    assert np.abs(worse("blur", 2.0) - expected).max() <= 1  # sigma is 2% of 50 pixels


def test_jpeg_is_pillows() -> None:
    data = io.BytesIO()
    Image.fromarray(photo()[0].numpy().transpose(1, 2, 0)).save(data, "JPEG", quality=30)
    expected = np.asarray(Image.open(data)).transpose(2, 0, 1).astype(float)
    assert np.abs(worse("JPEG", 30) - expected).mean() < 1


def test_light_and_contrast_are_arithmetic() -> None:
    before = photo()[0].numpy().astype(float)
    assert worse("darker", 40) == pytest.approx(before * 0.6, abs=0.51)
    assert worse("brighter", 60) == pytest.approx(np.minimum(before * 1.6, 255), abs=0.51)
    assert worse("contrast", 70) == pytest.approx(before.mean() + (before - before.mean()) * 0.3, abs=0.51)


def test_noise_has_the_spread_it_names_and_each_photo_its_own() -> None:
    gray = torch.full((2, 3, 100, 100), 128, dtype=torch.uint8)
    noisy = corrupt(gray, "noise", 16, torch.tensor([3, 4])).float()
    assert noisy.std().item() == pytest.approx(16, rel=0.03)
    assert not torch.equal(noisy[0], noisy[1])
    assert torch.equal(corrupt(gray, "noise", 16, torch.tensor([3, 4])).float(), noisy), "and the same one every time"


def test_each_photo_of_a_run_gets_noise_of_its_own(tmp_path: Path) -> None:
    """Two equal photos: equal logits unchanged, different ones under noise."""
    decode = DecodeSettings(16, 16)
    network = MLP((16, 16), [], 0.0).eval().requires_grad_(False)
    inspector = Inspector(network, decode, Decision(0.5, ""), ("Correct", "Incorrect"), "", torch.device("cpu"))
    Image.new("RGB", (16, 16), (90, 120, 60)).save(tmp_path / "a.png")
    equal = [Photo(tmp_path / "a.png", name, 0, name) for name in ("first", "second")]
    (first, second), _ = _scores(inspector, equal)
    noisy = 1 + np.array([name == "noise" for name, _ in VARIANTS]).nonzero()[0]
    assert first[0] == second[0]
    assert (first[noisy] != second[noisy]).all()


def test_geometry_moves_by_what_it_names() -> None:
    before, inner = photo()[0].numpy().astype(float), slice(10, 40)
    for number, step in ((0, 5), (1, -5)):  # 10% of 50 pixels, either way
        moved = worse("shift", 10, number)
        where = slice(inner.start + step, inner.stop + step)
        assert moved[:, inner, inner] == pytest.approx(before[:, where, where], abs=1)
    turned = ndimage.rotate(before, 20, axes=(1, 2), reshape=False, order=1, mode="mirror")
    ours = worse("rotation", 20, 1), worse("rotation", 20, 0)
    assert min(np.abs(of[:, inner, inner] - turned[:, inner, inner]).mean() for of in ours) < 1
    half = corrupt(photo(), "scale", 50, torch.tensor([0]))[0, :, 13:37, 13:37].numpy().astype(float)
    assert half == pytest.approx(before[:, 1:49, 1:49].reshape(3, 24, 2, 24, 2).mean((2, 4)), abs=2)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_each_gets_worse_with_its_strength(name: str) -> None:
    noise = np.random.default_rng(0).uniform(0, 255, (3, 300, 300))
    coarse = (ndimage.gaussian_filter(noise, (0, 25, 25), mode="mirror") - 127) * 20
    before = torch.from_numpy(np.clip(coarse + 127 + (noise - 127) / 4, 20, 235).astype(np.uint8))[None]
    after = [corrupt(before, name, strength, torch.tensor([0])) for strength in CORRUPTIONS[name].strengths]
    errors = [(of.float() - before.float()).abs().mean().item() for of in after]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_rates_are_those_counted_by_hand() -> None:
    label = np.array([1, 1, 1, 0, 0])
    clean, worse = (np.where(rejected, Verdict.REJECT, Verdict.PASS) for rejected in ([1, 1, 0, 0, 0], [1, 0, 0, 1, 0]))
    rates = _rates(worse, clean, label, np.arange(5))
    found = {name: rate["value"] for name, rate in rates.items()}
    expected = {"escape_rate": 2 / 3, "overkill_rate": 1 / 2, "review_rate": 0, "accuracy": 2 / 5, "flips": 2 / 5}
    assert found == pytest.approx(expected)


def test_a_photo_that_has_become_novel_is_for_a_person() -> None:
    label, clean = np.array([1, 1, 0, 0]), np.array(["REJECT", "PASS", "PASS", "PASS"])
    rates = _rates(Decision(0.5, "", None, 1.0).verdicts([0.9, 0.1, 0.1, 0.1], [2.0, 2.0, 2.0, 0.5]), clean, label,
                   np.arange(4))  # fmt: skip
    found = {name: rate["value"] for name, rate in rates.items()}
    assert found == {"escape_rate": 0, "overkill_rate": 0, "review_rate": 0.75, "accuracy": 0.25, "flips": 0.75}


@pytest.fixture
def run(train: Train, photo_root: Path) -> Path:
    small = ["data.image_size=16", "model.hidden=[16]", "model.dropout=0", "augment=none", "trainer.max_epochs=30"]
    code, run, output = train("data=folder", f"data.root={photo_root}", *small, "optim.lr=3e-3", "report=false")
    assert code == 0, output
    return run


def test_the_command_writes_the_rates_of_all_variants(
    run: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command.main, f"run={run}") == 0
    with (run / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["corruption"] for row in rows] == ["none", *(name for name, _ in VARIANTS)]
    test = json.loads((run / "metrics.json").read_text())["test"]
    for rate in ("escape_rate", "overkill_rate", "accuracy"):
        assert float(rows[0][rate]) == test[rate]["value"], "untouched photos get what the training measured"
    assert float(rows[0]["flips"]) == 0
    assert max(float(row["flips"]) for row in rows) > 0
    report = (run / "report.html").read_text()
    assert 'id="robustness"' in report
    with Image.open(run / "figures" / "robustness.png") as picture:
        assert picture.width > 800
    assert "strength 5" in capsys.readouterr().out
    assert call(decide.main, f"run={run}", "threshold=0.9", "reason=fewer overkills") == 0
    report = (run / "report.html").read_text()
    assert "robustness.json is of another decision and not shown; for this one: qc-lightning robustness" in report
    assert 'id="robustness"' not in report
    assert report.index("Decision 2 is in force") < report.index('id="go-live-title"'), "whose figures these are"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["subset=tests"], "error: subset: expected one of train, val, test, got 'tests'"),
        (["photos=1"], "error: photos: expected at least 2, got 1"),
        (["strength=3"], "error: there is no setting 'strength'"),
    ],
)
def test_a_mistake_is_one_line(
    run: Path,
    arguments: list[str],
    line: str,
    call: Call,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(command.main, f"run={run}", *arguments) == 2
    assert line in capsys.readouterr().err
    assert not (run / "robustness.json").exists()


def test_a_photo_that_was_changed_is_named(
    run: Path, photo_root: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in photo_root.rglob("*.png"):
        Image.new("RGB", (8, 8)).save(path)
    assert call(command.main, f"run={run}") == 2
    assert "its sha256 has changed" in capsys.readouterr().err


def test_a_cell_is_marked_only_where_all_cells_together_are_sure() -> None:
    """By hand: of 20 parts 3 flip with p = 0.0755 at a rate of 5%, 6 with 0.00033, 7 with 0.00003."""
    assert binomtest(6, 20, 0.05, alternative="greater").pvalue == pytest.approx(0.000329, abs=1e-6)
    one, many = [{"value": 0.3}], [{"value": 0.3}] * 1 + [{"value": 0.15}] * 199
    assert surely_above(one, 20) == [True]
    assert surely_above(many, 20) == [False] * 200, "0.00033 times 200 is more than 0.05"
    assert surely_above([{"value": 0.35}, *many], 20) == [True] + [False] * 200
    assert surely_above([{"value": None}], 20) == [False]
