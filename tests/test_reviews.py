"""Reviews and overrides by people on the line, all recorded in the log."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from conftest import save_photo
from exported_runs import PAPER, run_of
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.deployment.export_run import export_inspector
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.inference import log_file, log_queries
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.kept_photos import KeptPhotos, find_kept
from qc_lightning.inference.log_file import first_fault, query
from qc_lightning.inference.log_queries import open_reviews
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict
from test_log import entry
from test_service import Server


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path, list[dict]]]:
    """A service whose verdicts are all REVIEW, its log, and its answers to three photos."""
    folder = tmp_path_factory.mktemp("line")
    run = run_of(folder, PAPER, DecodeSettings(16, 16))
    record = {"threshold": 0.5, "source": "test", "review": [0.0, 1.0]}
    export_inspector_of(run, record, folder / "inspector.onnx")
    server = Server(f"model={folder / 'inspector.onnx'}", f"log={folder / 'line.sqlite'}", "keep=review")
    answers = []
    for seed in range(3):
        photo = save_photo(folder / "parts" / f"{seed}.png", bright=seed == 1, seed=seed)
        answers.append(server.client.post("/v1/inspect", params={"part": seed}, content=photo.read_bytes()).json())
    yield server.client, folder, answers
    assert server.stop() == 0


def export_inspector_of(run: Run, record: dict, output: Path) -> None:
    inspector = replace(Inspector.load(run, "cpu"), decision=Decision.from_dict(record))
    export_inspector(inspector, record, gate_photos(run), output)


def test_a_part_that_a_person_judged_leaves_the_queue_and_is_a_row(line) -> None:
    client, folder, answers = line
    assert [answer["row"] for answer in answers] == [1, 2, 3]
    queue = client.get("/v1/reviews").json()
    assert [row["row"] for row in queue["rows"]] == [1, 2, 3]
    said = {"row": 2, "verdict": "bad", "name": " Anna ", "reason": "scratch"}
    done = client.post("/v1/override", json=said)
    assert (done.status_code, done.json()) == (201, {"row": 4, "overrides": 2, "verdict": "REJECT"})
    assert [row["row"] for row in client.get("/v1/reviews").json()["rows"]] == [1, 3]
    *_, (number, entry, _) = query(folder / "line.sqlite")
    assert (number, entry.overrides, entry.who, entry.reason, entry.verdict) == (4, 2, "Anna", "scratch", "REJECT")
    assert (entry.part, entry.sha256, entry.model_id) == ("1", answers[1]["sha256"], answers[1]["model_id"])
    assert first_fault(folder / "line.sqlite")[::2] == (4, "")
    assert 'qc_overrides_total{model="REVIEW",person="REJECT"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"row": 1, "verdict": "good", "name": ""}, 400),
        ({"row": 1, "verdict": "fine", "name": "Anna"}, 400),
        ({"row": True, "verdict": "good", "name": "Anna"}, 400),
        ({"row": 99, "verdict": "good", "name": "Anna"}, 404),
        ({"row": -1, "verdict": "good", "name": "Anna"}, 400),
        ({"row": 2**70, "verdict": "good", "name": "Anna"}, 400),
    ],
)
def test_what_is_no_override_is_refused(line, said: dict, status: int) -> None:
    assert line[0].post("/v1/override", json=said).status_code == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"row": 1e400, "verdict": "good", "name": "Anna"}', "row: "),
        (b'{"row": 1, "verdict": "good", "name": "\\ud800"}', "name: "),
        (b"[]", "body: "),
        (b"{", "1: JSON"),
    ],
)
def test_a_request_that_is_wrong_gets_one_line_whatever_it_holds(line, body: bytes, words: str) -> None:
    answer = line[0].post("/v1/override", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(words)
    long = line[0].post("/v1/inspect", params={"part": "p" * 201}, content=b"x")
    assert (long.status_code, long.json()) == (400, {"detail": "part: String should have at most 200 characters"})


def test_the_photo_of_a_row_comes_back_small(line) -> None:
    client, folder, answers = line
    photo = client.get("/v1/rows/2/photo", params={"longest": 20})
    assert Image.open(io.BytesIO(photo.content)).size == (20, 20)
    kept = find_kept(folder / "line_photos", answers[1]["sha256"])
    assert kept is not None
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == answers[1]["sha256"]
    assert client.get("/v1/rows/77/photo").status_code == 404


def test_raw_pixels_are_kept_and_replayed_as_a_file(line) -> None:
    client, folder, _ = line
    pixels = np.random.default_rng(5).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    answer = client.post("/v1/inspect", params={"width": 50, "height": 30}, content=pixels.tobytes()).json()
    kept = find_kept(folder / "line_photos", answer["sha256"])
    assert kept is not None
    np.testing.assert_array_equal(np.asarray(Image.open(kept)), pixels)


def photo(seed: int, verdict: Verdict) -> tuple[bytes, Inspection]:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(file, "PNG")
    data = file.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    return data, Inspection(None, sha256, verdict, 0.1, 0.0, 0.5, None, "", "m", 0.0, "")


@pytest.mark.parametrize(("everything", "count"), [(True, 3), (False, 2)])
def test_what_is_kept_follows_the_policy(tmp_path: Path, everything: bool, count: int) -> None:
    kept = KeptPhotos(tmp_path, everything, 10**9)
    for seed, verdict in enumerate(Verdict):
        kept.keep(*photo(seed, verdict))
        kept.keep(*photo(seed, verdict))
    assert len([*tmp_path.glob("*/*")]) == count


def test_the_oldest_photos_make_room_also_after_a_start(tmp_path: Path) -> None:
    size = len(photo(0, Verdict.REJECT)[0])
    kept = KeptPhotos(tmp_path, True, 5 * size)
    for seed in range(8):
        if seed == 6:
            kept = KeptPhotos(tmp_path, True, 5 * size)
        kept.keep(*photo(seed, Verdict.PASS))
    there = {path.stem for path in tmp_path.glob("*/*")}
    newest = {photo(seed, Verdict.PASS)[1].sha256 for seed in (5, 6, 7)}
    assert newest <= there
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 5 * size


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    kept = KeptPhotos(tmp_path / "kept", True, 10**9)
    data, found = photo(0, Verdict.PASS)
    (tmp_path / "kept" / found.sha256[:2]).write_bytes(b"in the way")
    kept.keep(data, found)
    assert "cannot be kept" in kept.trouble


def test_the_queue_of_a_log_that_nobody_reads_stays_quick(tmp_path: Path) -> None:
    log_file.prepare(tmp_path / "a.sqlite")
    connection = log_file.connect(tmp_path / "a.sqlite")
    for _ in range(3):
        log_file.append(connection, [entry(0)._replace(verdict="REVIEW")] * 500)
    connection.close()
    found = open_reviews(tmp_path / "a.sqlite")
    assert [found[0].number, found[-1].number, len(found)] == [501, 1500, log_queries.LOOKED_AT]
