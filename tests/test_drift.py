"""Drift: a change is reported within 200 photos, no change is not, and a changed mix is not a changed camera."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import stats

from conftest import save_photo
from exported_runs import PAPER, run_of
from qc_lightning import drift as drift_command
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.photo import Photo
from qc_lightning.deployment.export_run import export_inspector
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.inference.drift import (
    MIX,
    PHOTOS_PER_FALSE_ALARM,
    DriftMonitor,
    Reference,
    _fisher,
    critical_value,
    in_words,
)
from qc_lightning.inference.drift_report import table
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.log_file import query, register
from qc_lightning.inference.measures import PIXEL_STATISTICS, Components, of_pixels, small_picture
from qc_lightning.inference.verdict_log import VerdictLog
from test_log import entry, write
from test_service import Server

STATISTICS = len(PIXEL_STATISTICS) + 1 + 4


def reference(seed: int, good: int = 150, bad: int = 60) -> Reference:
    """Normal statistics; those of rejected photos are 3 higher."""
    rng = np.random.default_rng(seed)
    sides = [
        ((np.sort(rng.normal(size=good)), good), (np.sort(rng.normal(3, size=bad)), bad)) for _ in range(STATISTICS)
    ]
    return Reference(Components(np.zeros(4), np.eye(4)), True, False, sides, critical_value(STATISTICS))


def watched(monitor: DriftMonitor, seed: int, count: int, bad: float, shift: float = 0.0) -> DriftMonitor:
    rng = np.random.default_rng(seed)
    start = monitor.photos
    for row in range(start + 1, start + count + 1):
        rejected = bool(rng.random() < bad)
        values = rng.normal(3.0 * rejected, size=STATISTICS)
        values[3] += shift
        monitor.add(row, values.tolist(), rejected)
    return monitor


@pytest.mark.parametrize("bad", [0.02, 0.5])
def test_nothing_is_said_while_nothing_changes(bad: float) -> None:
    for seed in range(3):
        assert watched(DriftMonitor(reference(seed)), 100 + seed, 2000, bad).first == {}


def test_before_the_first_window_nothing_is_called_unchanged() -> None:
    monitor = watched(DriftMonitor(reference(0)), seed=1, count=49, bad=0.3)
    assert table(monitor) == "nothing was compared yet: that takes 50 photos"
    assert table(watched(monitor, seed=2, count=1, bad=0.3)).endswith("nothing has changed beyond chance")


def test_a_changed_statistic_is_named_within_200_photos() -> None:
    monitor = watched(DriftMonitor(reference(0)), 1, 1000, 0.1)
    watched(monitor, 2, 200, 0.1, shift=1.5)
    assert set(monitor.first) == {"sharpness"}
    assert 1000 < monitor.first["sharpness"].row <= 1200
    assert set(in_words(monitor.crossings)) == {"drift"}
    watched(monitor, 3, 450, 0.1)
    assert monitor.crossings == {}, "an alarm ends some time after its cause"


def test_more_bad_parts_are_a_changed_mix_not_a_changed_camera() -> None:
    monitor = watched(DriftMonitor(reference(0)), 1, 1000, 0.02)
    watched(monitor, 2, 200, 0.5)
    assert set(monitor.first) == {MIX}
    assert set(in_words(monitor.crossings)) == {"mix"}


def test_the_limit_spends_the_budget_over_all_looks() -> None:
    """By hand: 2,000 looks in 100,000 photos, two windows, n statistics and the mix; two-sided Kolmogorov."""
    tests = PHOTOS_PER_FALSE_ALARM / 50 * 2 * (STATISTICS + 1)
    assert 2 * np.exp(-2 * critical_value(STATISTICS) ** 2) == pytest.approx(1 / tests)
    assert stats.kstwobign.sf(critical_value(STATISTICS)) == pytest.approx(1 / tests, rel=1e-6)


@pytest.mark.parametrize(("k", "n", "m", "N"), [(9, 50, 3, 200), (0, 50, 60, 200), (5, 50, 20, 200), (50, 50, 0, 200)])
def test_the_mix_is_fishers_test(k: int, n: int, m: int, N: int) -> None:
    side = "greater" if k * N >= m * n else "less"
    expected = stats.fisher_exact([[k, n - k], [m, N - m]], alternative=side).pvalue
    assert np.exp(_fisher(k, n, m, N)) == pytest.approx(expected, rel=1e-9)


def test_differences_are_kolmogorovs_and_smirnovs() -> None:
    monitor = watched(DriftMonitor(reference(0)), 5, 49, 0.0)
    rng = np.random.default_rng(7)
    monitor.add(50, rng.normal(size=STATISTICS).tolist(), False)
    seen, known = 50 * [0.0], monitor.reference.sides[3][0][0]
    draw = np.random.default_rng(5)
    for row in range(49):
        draw.random()
        seen[row] = draw.normal(0.0, size=STATISTICS)[3]
    seen[49] = np.random.default_rng(7).normal(size=STATISTICS)[3]
    expected = stats.ks_2samp(seen, known).statistic
    found = {one.name: one for one in monitor.largest.values()}["sharpness"]
    assert found.value == pytest.approx(expected)
    assert found.limit == pytest.approx(critical_value(STATISTICS) * (1 / 50 + 1 / 150) ** 0.5)


def test_equal_values_are_no_difference() -> None:
    """A grey camera has no colour, neither in training nor on the line: scipy's two-sample statistic is 0 too."""
    one = reference(0)
    sides = [((np.round(a, 0), n), (np.round(b, 0), m)) for (a, n), (b, m) in one.sides]
    monitor = DriftMonitor(Reference(one.components, True, False, sides, one.critical))
    draw, seen = np.random.default_rng(3), []
    for row in range(50):
        seen.append(np.round(draw.normal(size=STATISTICS), 0))
        monitor.add(row, seen[-1].tolist(), False)
    for place, name in enumerate(monitor.reference.names):
        expected = stats.ks_2samp(np.array(seen)[:, place], sides[place][0][0]).statistic
        assert monitor.largest[name].value == pytest.approx(expected), name
    flat = [((np.zeros(30), 30), (np.zeros(30), 30))] * STATISTICS
    monitor = DriftMonitor(Reference(one.components, True, False, flat, one.critical))
    for row in range(200):
        monitor.add(row, [0.0] * STATISTICS, row % 2 == 0)
    assert max(found.value for name, found in monitor.largest.items() if name != MIX) == 0


def test_the_reference_comes_back_from_its_text() -> None:
    one = reference(0)
    other = Reference.from_json(one.to_json())
    assert other.to_json() == one.to_json()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    features = np.arange(4, dtype=np.float32)
    assert other.measure(pixels, 0.5, None, features) == one.measure(pixels, 0.5, None, features)


def test_statistics_of_pixels_see_what_they_are_for() -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)).resize((96, 96))

    def seen(image: Image.Image) -> dict[str, float]:
        pixels = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
        return dict(zip(PIXEL_STATISTICS, of_pixels(pixels), strict=True))

    plain, array = seen(photo), np.asarray(photo).astype(int)
    noisy = np.clip(array + np.random.default_rng(1).normal(0, 8, array.shape), 0, 255).astype(np.uint8)
    assert seen(Image.fromarray(noisy))["noise"] > plain["noise"] + 1
    assert seen(photo.filter(ImageFilter.GaussianBlur(1)))["sharpness"] < plain["sharpness"] - 0.1
    dark = seen(Image.fromarray((array // 2).astype(np.uint8)))
    assert (dark["mean"], dark["contrast"]) == (
        pytest.approx(plain["mean"] / 2, abs=1),
        pytest.approx(plain["contrast"] / 2, abs=1),
    )
    flat = np.zeros((3, 5, 7), np.uint8)
    flat[0] = 30
    assert of_pixels(flat) == pytest.approx((10, 0, 30, 0, 0), abs=1e-5)
    assert small_picture(flat).tolist() == pytest.approx([10] * 64)


def test_a_line_whose_camera_gets_dark(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path, PAPER, DecodeSettings(16, 16), count=60)
    trained = [
        Photo(
            save_photo(tmp_path / "trained" / f"{seed}.png", seed % 2 == 1, 200 + seed),
            str(seed),
            seed % 2,
            str(seed),
            "train",
        )
        for seed in range(30)
    ]
    model, log = tmp_path / "inspector.onnx", tmp_path / "line.sqlite"
    export_inspector(Inspector.load(run, "cpu"), {"threshold": 0.5}, gate_photos(run), model, trained)
    inspector = ExportedInspector.load(model)
    assert inspector.reference is not None
    server = Server(f"model={model}", f"log={log}")
    photos = [
        save_photo(tmp_path / "new" / f"{seed}.png", seed % 2 == 1, 400 + seed).read_bytes() for seed in range(150)
    ]
    for photo in photos:
        assert server.client.post("/v1/inspect", content=photo).status_code == 200
    assert server.client.get("/v1/state").json()["alarms"] == {}
    first = next(query(log)).entry
    expected = inspector(photos[0]).measures
    assert [float(number) for number in first.measures.split()] == pytest.approx(expected, rel=1e-5)
    assert call(drift_command.main, str(log)) == 0
    assert "nothing has changed" in capsys.readouterr().out
    for seed in range(100):
        dark = np.asarray(Image.open(tmp_path / "new" / f"{seed}.png")).astype(float) * 0.7
        data = dark.astype(np.uint8)
        answer = server.client.post("/v1/inspect", params={"width": 40, "height": 40}, content=data.tobytes())
        assert answer.status_code == 200
    assert "drift" in server.client.get("/v1/state").json()["alarms"]
    assert 'qc_alarm{about="drift"} 1.0' in server.client.get("/metrics").text
    assert server.stop() == 0
    assert call(drift_command.main, str(log)) == 1
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("mean"))
    assert 150 < int(line.split()[-1]) <= 250
    again = Server(f"model={model}", f"log={log}")
    assert "drift" in again.client.get("/v1/state").json()["alarms"], "a restart forgets nothing"
    assert again.stop() == 0


def test_each_model_of_a_log_can_be_asked_for(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a b.sqlite"
    log = VerdictLog(path)
    record = json.dumps({"metadata": {"model_id": "x", "decision": {}}, "drift": reference(0).to_json()})
    for name, photos in (("lid", 3), ("box", 2)):
        digest = register(path, record.replace('"x"', f'"{name}"'))
        measures = " ".join(["0.5"] * len(reference(0).names))
        for number in range(photos):
            log.submit(entry(number)._replace(model_id=name, model=digest, measures=measures)).result(30)
    log.close()
    assert call(drift_command.main, str(path)) == 0
    said = capsys.readouterr().out
    assert f"{path}: model box, 2 photos" in said
    assert f"model lid has 3 photos too, up to row 3: qc-lightning drift '{path}' model=lid" in said
    assert call(drift_command.main, str(path), "model=lid") == 0
    assert f"{path}: model lid, 3 photos" in capsys.readouterr().out
    assert call(drift_command.main, str(path), "model=cap") == 2
    assert "model: expected one of box, lid, got cap" in capsys.readouterr().err


def test_a_log_without_measures_is_one_line(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.sqlite", 3)
    assert call(drift_command.main, str(tmp_path / "a.sqlite")) == 2
    assert "expected photos measured for drift" in capsys.readouterr().err
