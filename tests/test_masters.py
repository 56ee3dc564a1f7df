"""Master parts: after a wrong verdict no part passes until a person overrides it, also after a restart."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from conftest import save_photo
from exported_runs import PAPER, run_of
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.deployment.export_run import export_inspector
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.log_file import first_fault, query
from qc_lightning.inference.log_replay import replay
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.masters import Masters, is_wrong
from test_log import entry
from test_service import Server


@pytest.mark.parametrize(
    ("kind", "verdict", "wrong"),
    [("good", "PASS", False), ("good", "REVIEW", True), ("bad", "PASS", True), ("bad", "REVIEW", False)],
)
def test_a_good_one_must_pass_and_a_bad_one_must_not(kind, verdict: str, wrong: bool) -> None:
    assert is_wrong(kind, Verdict[verdict]) == wrong


def test_they_are_due_after_some_hours(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "line.sqlite")
    assert "good and bad" in Masters(log.path, 8).trouble
    assert Masters(log.path, None).trouble == ""
    for part, hours, verdict in (("master good", 1, "PASS"), ("master bad", 9, "REJECT")):
        time = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="milliseconds")
        log.submit(entry(0)._replace(time=time, part=part, verdict=verdict)).result(30)
    masters = Masters(log.path, 8)
    assert (masters.blocked, masters.trouble) == (None, "not shown for 8 hours: bad")
    log.close()


def test_nothing_passes_until_a_person_signs(tmp_path: Path) -> None:
    run = run_of(tmp_path, PAPER, DecodeSettings(16, 16))
    photos = [save_photo(tmp_path / "new" / f"{seed}.png", bright=seed % 2 == 0, seed=seed) for seed in range(12)]
    inspector = Inspector.load(run, "cpu")
    middle = float(np.median([found.probability for found in inspector([*photos])]))
    inspector = replace(inspector, decision=Decision(middle, "test"))
    export_inspector(inspector, inspector.decision.to_dict(), gate_photos(run), tmp_path / "x.onnx")
    settings = (f"model={tmp_path / 'x.onnx'}", f"log={tmp_path / 'line.sqlite'}", "keep=all")
    server = Server(*settings)
    data, first = {}, {}
    for photo in photos:
        verdict = server.client.post("/v1/inspect", content=photo.read_bytes()).json()["verdict"]
        data[verdict] = photo.read_bytes()
        first.setdefault(verdict, data[verdict])
    assert set(data) == {"PASS", "REJECT"}

    def show(kind: str, verdict: str) -> dict:
        answer = server.client.post("/v1/inspect", params={"master": kind}, content=data[verdict])
        assert answer.status_code == 200
        return answer.json()

    show("good", "PASS")
    show("bad", "REJECT")
    assert server.client.get("/ready").status_code == 200
    wrong = show("bad", "PASS")
    held = server.client.post("/v1/inspect", content=first["PASS"]).json()
    assert (held["verdict"], "blocked" in held["reason"]) == ("REVIEW", True)
    assert server.client.post("/v1/inspect", content=data["REJECT"]).json()["verdict"] == "REJECT"
    assert server.client.get("/v1/state").json()["blocked"] == wrong["row"]
    assert server.client.get("/ready").status_code == 503
    show("bad", "REJECT")  # showing another master part does not unblock the line
    assert server.stop() == 0
    server = Server(*settings)
    assert server.client.post("/v1/inspect", content=data["PASS"]).json()["verdict"] == "REVIEW"
    said = {"row": wrong["row"], "verdict": "bad", "name": "Anna", "reason": "lens cleaned"}
    assert server.client.post("/v1/override", json=said).status_code == 201
    assert server.client.post("/v1/inspect", content=data["PASS"]).json()["verdict"] == "PASS"
    assert server.client.get("/v1/state").json()["blocked"] is None
    assert server.client.post("/v1/inspect", params={"master": "other"}, content=data["PASS"]).status_code == 400
    assert server.stop() == 0
    parts = [one.part for _, one, _ in query(tmp_path / "line.sqlite", "WHERE part != '' ORDER BY id")]
    assert parts == ["master good", "master bad", "master bad", "master bad", "master bad"]
    assert first_fault(tmp_path / "line.sqlite")[2] == ""
    photos_kept = tmp_path / "line_photos"
    assert replay(tmp_path / "line.sqlite", str(tmp_path / "x.onnx"), photos_kept) == 0, "a held PASS is no difference"
