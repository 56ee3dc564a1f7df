"""A part seen by several cameras: the worst view decides; a missing view is awaited and never PASS."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import save_photo
from exported_runs import exported
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.parts import views_of
from test_log import entry
from test_service import Server


@pytest.fixture
def log(tmp_path: Path) -> Iterator[VerdictLog]:
    log = VerdictLog(tmp_path / "line.sqlite")
    yield log
    log.close()


def seen(log: VerdictLog, part: str, camera: str, verdict: str) -> int:
    return log.submit(entry(0)._replace(part=part, source=camera, verdict=verdict)).result(30)


def verdicts(log: VerdictLog, part: str, after: int = 0) -> dict[str, str]:
    return {camera: view.verdict.value for camera, view in views_of(log.path, part, after).items()}


def test_the_newest_of_each_camera_counts_and_a_person_before_the_model(log: VerdictLog) -> None:
    seen(log, "7", "top", "REJECT")
    seen(log, "8", "top", "REJECT")
    row = seen(log, "7", "top", "REVIEW")
    seen(log, "7", "side", "PASS")
    assert verdicts(log, "7") == {"top": "REVIEW", "side": "PASS"}
    reviewed = entry(0)._replace(part="7", source="top", verdict="REVIEW")
    log.submit(reviewed.override(row, Verdict.PASS, "Anna", "")).result(30)
    assert verdicts(log, "7") == {"top": "PASS", "side": "PASS"}
    again = seen(log, "7", "top", "REJECT")
    assert verdicts(log, "7") == {"top": "REJECT", "side": "PASS"}, "a new photo of it is another matter"
    log.submit(reviewed.override(row, Verdict.PASS, "Anna", "too late")).result(30)
    assert verdicts(log, "7") == {"top": "REJECT", "side": "PASS"}
    assert verdicts(log, "7", after=again) == {}


def test_a_view_is_awaited_and_without_it_nothing_passes(tmp_path: Path) -> None:
    server = Server(f"model={exported(tmp_path / 'x.onnx')}", f"log={tmp_path / 'line.sqlite'}", "views=2")
    photos = [save_photo(tmp_path / "new" / f"{seed}.png", bright=seed % 2 == 0, seed=seed) for seed in range(10)]
    data = [photo.read_bytes() for photo in photos]
    verdict = [server.client.post("/v1/inspect", content=one).json()["verdict"] for one in data]
    good = data[verdict.index("PASS")] if "PASS" in verdict else None
    bad = data[verdict.index("REJECT")] if "REJECT" in verdict else None

    def inspect(photo: bytes, camera: str) -> None:
        part = {"part": "A/1", "camera": camera}
        assert server.client.post("/v1/inspect", params=part, content=photo).status_code == 200

    assert server.client.get("/v1/parts/A/1").status_code == 404
    assert good is not None or bad is not None
    inspect(good or bad or b"", "top")
    alone = server.client.get("/v1/parts/A/1").json()
    assert (alone["verdict"] != "PASS", alone["missing"]) == (True, 1)
    later = threading.Timer(0.3, inspect, (bad or good or b"", "side"))
    begun = time.monotonic()
    later.start()
    both = server.client.get("/v1/parts/A/1", params={"wait": 8}).json()
    later.join()
    assert 0.2 < time.monotonic() - begun < 7, "it answers when the view is there"
    assert both["missing"] == 0
    assert both["verdict"] == ("REJECT" if bad else "PASS")
    assert server.stop() == 0
