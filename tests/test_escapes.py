"""The bound on the escape rate holds simultaneously at all times; crossing the certified rate voids the certificate."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from conftest import save_photo
from exported_runs import PAPER, run_of
from qc_lightning import drift as drift_command
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.deployment.export_run import export_inspector
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.inference.escapes import Claim, EscapeMonitor, pick
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.log_entry import Row
from qc_lightning.metrics.anytime import exceeds, log_wealth, lower_bound, upper_bound
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict
from test_log import entry
from test_service import Server


@pytest.mark.parametrize("parts", [1, 7, 60])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.4])
def test_nobody_gains_by_betting_against_what_is_true(parts: int, rate: float) -> None:
    misses = np.arange(parts + 1)
    wealth = np.exp([log_wealth(int(k), parts, rate) for k in misses])
    assert stats.binom.pmf(misses, parts, rate) @ wealth == pytest.approx(1)
    assert stats.binom.pmf(misses, parts, rate / 2) @ wealth < 1


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_a_rate_that_is_kept_is_hardly_ever_doubted_whenever_one_looks(rate: float) -> None:
    parts, streams = 2000, 2000
    limit, limits = 0, []  # the fewest misses that show the rate to be exceeded, for each number of parts
    for n in range(1, parts + 1):
        while limit <= n and not exceeds(limit, n, rate):
            limit += 1
        limits.append(limit)
    misses = np.cumsum(np.random.default_rng(0).random((streams, parts)) < rate, axis=1)
    doubted = (misses >= np.array(limits)).any(axis=1).sum()
    assert stats.binom.cdf(doubted, streams, 0.05) < 0.99, f"{doubted} of {streams}, at most 5% may"
    # with checks at all times a bound for a single check is wrong far more often
    once = stats.beta.ppf(0.05, misses, np.arange(1, parts + 1) - misses + 1) > rate
    assert once.any(axis=1).mean() > 0.1


def test_bounds_hold_the_rate_between_them_and_are_no_tighter_than_those_of_one_look() -> None:
    for misses, parts in ((2, 20), (10, 100), (60, 200)):
        low, high = lower_bound(misses, parts), upper_bound(misses, parts)
        assert 0 < low < misses / parts < high < 1
        assert low < stats.beta.ppf(0.05, misses, parts - misses + 1)
        assert high > stats.beta.ppf(0.95, misses + 1, parts - misses)
        assert log_wealth(misses, parts, low) == pytest.approx(math.log(20), abs=1e-3)
    assert (lower_bound(0, 50), upper_bound(50, 50), upper_bound(0, 0)) == (0, 1, 1)


def test_one_photo_in_so_many_is_picked_whatever_its_verdict() -> None:
    found = Inspection(None, "", Verdict.PASS, 0.1, -2.0, 0.5, None, "", "m", 0.0, "")
    digests = [f"{number:012x}{'0' * 52}" for number in range(1000)]
    picked = [pick(replace(found, sha256=digest), 50) for digest in digests]
    assert sum(one.reason == "spot check" for one in picked) == 20
    assert {one.verdict for one in picked} == {Verdict.PASS}
    assert pick(replace(found, sha256="0" * 64, reason="cannot tell"), 50).reason == "cannot tell; spot check"
    assert pick(found, 50) == pick(found, None) == found


def judged(number: int, verdict: str, said: str, reason: str = "spot check", part: str = "") -> tuple[Row, Row, bool]:
    inspected = Row(number, entry(0)._replace(part=part, verdict=verdict, reason=reason), "")
    return inspected, Row(number + 100, inspected.entry.override(number, Verdict(said), "Anna", ""), ""), False


def test_only_bad_parts_of_spot_checks_count_and_the_newest_judgement_of_each() -> None:
    monitor = EscapeMonitor(Claim(0.05, 0.95))
    monitor.add(*judged(1, "PASS", "REJECT", reason=""))  # found by chance
    monitor.add(*judged(2, "REVIEW", "REJECT", reason="cannot tell"))
    monitor.add(*judged(3, "PASS", "PASS"))
    assert (monitor.escapes, monitor.bad) == (0, 0)
    monitor.add(*judged(4, "PASS", "REJECT"))
    monitor.add(*judged(5, "REJECT", "REJECT"))
    monitor.add(*judged(6, "REVIEW", "REJECT", reason="cannot tell; spot check"))
    assert (monitor.escapes, monitor.bad) == (1, 3)
    monitor.add(*judged(4, "PASS", "PASS"))  # on second thoughts
    assert (monitor.escapes, monitor.bad) == (0, 2)
    monitor.add(*judged(7, "PASS", "REJECT", part="a"))
    monitor.add(*judged(8, "PASS", "REJECT", part="a"))  # the same part
    assert (monitor.escapes, monitor.bad, monitor.crossed) == (1, 3, None)
    for number in range(9, 20):
        monitor.add(*judged(number, "PASS", "REJECT"))
    crossed = monitor.crossed
    assert crossed is not None
    for number in range(20, 99):
        monitor.add(*judged(number, "REJECT", "REJECT"))
    assert monitor.crossed == crossed, "what was shown once stays shown"


def test_a_certificate_that_the_line_does_not_keep_is_void(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path, PAPER, DecodeSettings(16, 16))
    inspector = replace(Inspector.load(run, "cpu"), decision=Decision(1.0, "test"))  # passes everything
    known = gate_photos(run)[:2]
    photos = [
        {"path": str(photo.path), "sha256": result.sha256, "logit": result.logit, "novelty": None}
        for photo, result in zip(known, inspector([photo.path for photo in known]), strict=True)
    ]
    claim = {"kind": "escape", "rate": 0.05, "confidence": 0.95, "parts": 60, "allowed": 0, "threshold": 1.0}
    certificate = {"claims": [claim], "model_id": inspector.model_id, "decode": inspector.decode.plain()}
    certificate |= {"confidence": 0.95, "together": False}
    record = {"threshold": 1.0, "source": "test", "certificate": certificate | {"photos": photos}}
    model, log = tmp_path / "inspector.onnx", tmp_path / "line.sqlite"
    export_inspector(inspector, record, gate_photos(run), model)
    server = Server(f"model={model}", f"log={log}", "spot_check=1", "keep=review")
    answers = []
    for seed in range(6):
        photo = save_photo(tmp_path / "line" / f"{seed}.png", bright=True, seed=1000 + seed)
        answers.append(server.client.post("/v1/inspect", content=photo.read_bytes()).json())
    assert {(one["verdict"], one["reason"], one["certificate"]) for one in answers} == {("PASS", "spot check", "holds")}
    queue = server.client.get("/v1/reviews").json()
    assert [row["row"] for row in queue["rows"]] == [1, 2, 3, 4, 5, 6], "a person looks at spot checks"
    assert server.client.get("/v1/rows/1/photo").status_code == 200, "their photos are kept"
    assert server.client.get("/v1/state").json()["alarms"] == {}
    good = server.client.post("/v1/override", json={"row": 1, "verdict": "good", "name": "Anna"})
    assert good.status_code == 201, "who agrees needs no reason"
    for row in range(2, 7):
        said = {"row": row, "verdict": "bad", "name": "Anna", "reason": "scratch"}
        assert server.client.post("/v1/override", json=said).status_code == 201
    words = server.client.get("/v1/state").json()["alarms"]["certificate"]
    assert words.startswith("5 of 5 bad parts of spot checks passed, at least ")
    assert 'qc_alarm{about="certificate"} 1.0' in server.client.get("/metrics").text
    photo = (tmp_path / "line" / "0.png").read_bytes()
    assert server.client.post("/v1/inspect", content=photo).json()["certificate"] == "void"
    assert server.stop() == 0
    server = Server(f"model={model}", f"log={log}")
    assert server.client.get("/v1/model").json()["models"][0]["certificate"] == "void", "also after a restart"
    assert server.stop() == 0
    assert call(drift_command.main, str(log)) == 1
    assert "ALARM: the certificate is void: 5 of 5" in capsys.readouterr().out
