"""Cameras through OpenCV: numbered images, and a network camera that disconnects and returns."""

import hashlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import save_photo
from exported_runs import exported
from qc_lightning.core.errors import UserError
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.log_file import query
from qc_lightning.service.camera import Camera, CameraGone
from test_service import Server
from test_sinks import free_port, until


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("camera") / "inspector.onnx")


def frames(folder: Path, count: int) -> list[Path]:
    return [save_photo(folder / f"frame_{number:02d}.png", number % 2 == 0, number) for number in range(count)]


def test_a_photo_at_each_trigger(model: Path, tmp_path: Path) -> None:
    photos, log = frames(tmp_path / "in", 3), tmp_path / "line.sqlite"
    pattern = tmp_path / "in" / "frame_%02d.png"
    server = Server(f"model={model}", f"log={log}", f"camera={pattern}", "camera_name=top", "timeout=2")
    inspector = ExportedInspector.load(model)

    def trigger(part: str) -> tuple[int, dict[str, Any]]:
        answer = server.client.post("/v1/trigger", params={"part": part})
        return answer.status_code, answer.json()

    for number, photo in enumerate((*photos, photos[0])):  # after the last image the camera is opened again
        status, answer = trigger(str(number))
        assert (status, answer["part"], answer["camera"], answer["row"]) == (200, str(number), "top", number + 1)
        assert answer["logit"] == pytest.approx(inspector(np.asarray(Image.open(photo))).logit, abs=1e-5)
    shutil.move(tmp_path / "in", tmp_path / "away")
    for number in (4, 5, 6):  # OpenCV may still return a buffered frame
        status, answer = trigger(str(number))
        if status != 200:
            break
    assert (status, answer["verdict"], answer["error"][:9]) == (422, "REJECT", "no photo:")
    assert server.client.get("/v1/state").json()["alarms"]["camera"].endswith("gives no frames")
    shutil.move(tmp_path / "away", tmp_path / "in")
    until(lambda: trigger("9")[0] == 200)
    assert "camera" not in server.client.get("/v1/state").json()["alarms"]
    assert server.client.post("/v1/trigger", params={"master": "good"}).json()["part"] == "master good"
    assert server.stop() == 0
    *_, row = [row for row in query(log) if row.entry.part == answer["part"]]
    assert (row.entry.verdict, row.entry.sha256, row.entry.source) == ("REJECT", "", "top")


def test_a_photo_at_each_interval(model: Path, tmp_path: Path) -> None:
    frames(tmp_path / "in", 50)
    pattern, log = tmp_path / "in" / "frame_%02d.png", tmp_path / "line.sqlite"
    server = Server(f"model={model}", f"log={log}", f"camera={pattern}", "interval=0.1")
    until(lambda: server.client.get("/v1/rows").json()["newest"] >= 10)
    assert server.stop() == 0
    rows = list(query(log))
    assert len({entry.sha256 for _, entry, _ in rows}) == min(len(rows), 50), "each is a new photo"
    assert {entry.source for _, entry, _ in rows} == {"camera"}


@pytest.mark.slow
def test_no_photo_that_was_taken_is_lost_while_the_log_cannot_be_written(model: Path, tmp_path: Path) -> None:
    files, log = frames(tmp_path / "in", 50), tmp_path / "line.sqlite"
    camera = f"camera={tmp_path / 'in' / 'frame_%02d.png'}"
    server = Server(f"model={model}", f"log={log}", camera, "interval=0.2")
    until(lambda: server.client.get("/v1/rows").json()["newest"] >= 3)
    with sqlite3.connect(log) as other:  # like a full disk
        other.execute("BEGIN IMMEDIATE")
        until(lambda: "log" in server.client.get("/v1/state").json()["alarms"], 40)
        other.rollback()
    other.close()
    newest = server.client.get("/v1/rows").json()["newest"]
    until(lambda: server.client.get("/v1/rows").json()["newest"] > newest + 3, 40)
    assert server.client.get("/v1/state").json()["alarms"] == {}
    assert server.stop() == 0
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    names = [hashlib.sha256(b"P6 %d %d 255\n" % one.shape[1::-1] + one.tobytes()).hexdigest() for one in pictures]
    places = [names.index(entry.sha256) for _, entry, _ in query(log)]
    assert places == [place % 50 for place in range(len(places))], "each in its turn, none left out, none twice"


class NetworkCamera:
    """A camera that sends JPEGs over HTTP, 50 per second.

    The red of a frame is 4 times its number modulo 60, plus 2: a JPEG may change a colour by a level.
    """

    def __init__(self, port: int) -> None:
        self.sent, self.on = 0, True
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                while camera.on:
                    file = BytesIO()
                    Image.new("RGB", (64, 48), (4 * (camera.sent % 60) + 2, 0, 0)).save(file, "JPEG", quality=95)
                    data = file.getvalue()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + data + b"\r\n")
                    except OSError:
                        return
                    camera.sent += 1
                    time.sleep(0.02)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.on = False
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def network() -> Iterator[tuple[int, list[NetworkCamera]]]:
    port = free_port()
    cameras = [NetworkCamera(port)]
    yield port, cameras
    for camera in cameras:
        camera.stop()


def test_a_network_camera_gives_new_frames_and_comes_back(network: tuple[int, list[NetworkCamera]]) -> None:
    port, cameras = network
    camera = Camera(f"http://127.0.0.1:{port}/video.mjpg")
    camera.photo(10)
    time.sleep(1.0)  # a buffer would be full by now
    sent = cameras[0].sent
    pixels = np.asarray(Image.open(BytesIO(camera.photo(5))))
    assert pixels.shape == (48, 64, 3)
    number = round((float(pixels[..., 0].mean()) - 2) / 4)
    assert (number - sent) % 60 <= 15, "a frame from after the trigger, red first"
    cameras[0].stop()
    begun = time.monotonic()
    until(lambda: camera.trouble != "", 10)
    with pytest.raises(CameraGone, match="gives no frames"):
        camera.photo(0.2)
    assert time.monotonic() - begun < 10
    cameras.append(NetworkCamera(port))
    until(lambda: camera.trouble == "", 25)
    camera.photo(5)
    camera.close()


@pytest.mark.parametrize("address", ["77", "none.mp4", "none_%02d.png"])
def test_a_camera_that_is_not_there_is_one_line(address: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="camera: there is none at") as error:
        Camera(address)
    assert "\n" not in str(error.value)
