"""`python -m qc_lightning.latency`: times of calls with known durations, and the command."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qc_lightning import latency as command
from qc_lightning.evaluation.latency import _row, _timed, keeps_up

Train = Callable[..., tuple[int, Path, str]]
Call = Callable[..., int]


def test_percentiles_are_those_computed_by_hand() -> None:
    row = _row("x", 4, [0.001 * i for i in range(1, 102)])  # 1 to 101 ms
    assert (row["p50_ms"], row["p95_ms"], row["p99_ms"]) == pytest.approx((51, 96, 100))
    assert row["photos_per_s"] == pytest.approx(4 / 0.051)


def test_a_call_that_sleeps_takes_as_long_as_it_sleeps() -> None:
    times = _timed(lambda: time.sleep(0.005), 0.2)
    assert 20 <= len(times) <= 41
    assert min(times) >= 0.005


@pytest.mark.parametrize(("rate", "met"), [(9.9, True), (10.1, False), (None, None)])
def test_a_line_is_kept_up_with_when_99_of_100_are_in_time(rate: float | None, met: bool | None) -> None:
    rows = [{"what": "one photo, file to verdict", "p99_ms": 100.0}, {"what": "other", "p99_ms": 1.0}]
    found, words = keeps_up({"rows": rows}, rate)
    assert found is met
    assert ("NOT" in words) == (met is False)


def test_the_command_times_every_stage(
    train: Train, photo_root: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run, _ = train("data=folder", f"data.root={photo_root}", "data.image_size=16", "model.hidden=[16]")
    quick = [f"run={run}", "seconds=0.05", "device=cpu"]
    assert call(command.main, *quick, "batch_sizes=[1,4]", "line_rate=1e9") == 0
    assert "A line of 1e+09 parts per second is NOT kept up with" in capsys.readouterr().out
    stored = json.loads((run / "latency.json").read_text())
    assert stored["met"] is False
    assert [row["what"] for row in stored["rows"]] == [
        "decoding one photo, one thread",
        "network, 1 at a time",
        "network, 4 at a time",
        "one photo, file to verdict",
        "many photos, all cores",
    ]
    assert all(row["photos_per_s"] > 0 for row in stored["rows"])
    assert all(row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] for row in stored["rows"][:-1])
    assert 'id="latency"' in (run / "report.html").read_text()
    assert call(command.main, *quick, f"source={photo_root}") == 0
    assert "keeps up with a line of up to" in capsys.readouterr().out
    for argument, line in (
        ("source=nowhere", "source: expected a photo"),
        ("line_rate=0", "line_rate: expected parts per second above 0"),
        ("batch_sizes=[]", "batch_sizes: expected sizes of at least 1"),
        ("device=gpu", "device: expected auto, cpu, cuda or cuda:<n>, got 'gpu'"),
    ):
        assert call(command.main, *quick, argument) == 2
        assert line in capsys.readouterr().err
