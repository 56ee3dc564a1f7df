"""The service over real sockets: the model's verdicts, limits, and a shutdown without losses."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from conftest import save_photo
from exported_runs import exported
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspection import Decoded, Inspection
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.engine import Busy, Engine

TOKEN = "correct horse battery staple"


class Server:
    """The command in its own process."""

    def __init__(self, *arguments: str, verify: Path | None = None, **environment: str) -> None:
        command = [sys.executable, "-m", "qc_lightning.serve", "port=0", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
        )
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "/ for people" in line:
                break
        assert lines, self.process.communicate()[1]
        self.lines, self.url = lines, lines[-1].split("/ for people")[0]
        trusted = ssl.create_default_context(cafile=verify / "cert.pem") if verify else True
        address = self.url.replace("//0.0.0.0", "//127.0.0.1")
        self.client = httpx.Client(base_url=address, timeout=30, verify=trusted)
        while True:
            try:
                self.client.get("/ready")
                return
            except httpx.ConnectError:
                time.sleep(0.05)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self.client.close()
        self.process.communicate()
        return code


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("service") / "inspector.onnx")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    server = Server(f"model={model}", "max_megabytes=2", "timeout=2", "queue=64")
    yield server
    server.stop()


def test_many_clients_get_the_models_verdicts(server: Server, model: Path, tmp_path: Path) -> None:
    photos = [save_photo(tmp_path / f"{seed}.png", bright=seed % 2 == 0, seed=seed) for seed in range(20)]
    expected = ExportedInspector.load(model)([*map(str, photos)])

    def ask(number: int) -> httpx.Response:
        data = photos[number % 20].read_bytes()
        if number % 2:
            return server.client.post("/v1/inspect", params={"part": number}, content=data)
        return server.client.post("/v1/inspect", params={"part": number}, files={"file": ("a.png", data)})

    with ThreadPoolExecutor(8) as clients:
        for number, response in enumerate(clients.map(ask, range(200))):
            answer, right = response.json(), expected[number % 20]
            assert response.status_code == 200
            assert answer["part"] == str(number)
            assert (answer["verdict"], answer["sha256"], answer["model_id"]) == (
                right.verdict,
                right.sha256,
                right.model_id,
            )
            assert answer["logit"] == pytest.approx(right.logit, abs=1e-5)
            assert answer["probability"] == pytest.approx(right.probability, abs=1e-6)
    counted = sum(
        float(line.split()[1])
        for line in server.client.get("/metrics").text.splitlines()
        if line.startswith("qc_verdicts_total")
    )
    assert counted >= 200


def test_predict_and_the_service_say_the_same_of_a_photo(
    server: Server, model: Path, predict: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    good = save_photo(tmp_path / "a" / "7_left.png", bright=True, seed=3)
    (tmp_path / "a" / "8_left.jpg").write_bytes(b"no photo")
    given = [f"run={model}", f"source={good.parent}", "output=v.jsonl", "camera=top", "part=prefix"]
    assert predict(*given)[0] == 3
    for line in Path("v.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        sent = {"part": row["part"], "camera": "top"}
        answer = server.client.post("/v1/inspect", params=sent, content=Path(row["path"]).read_bytes()).json()
        both = set(row) & set(answer)
        assert len(both) == 12, both
        assert {name: row[name] or "" for name in both} == {name: answer[name] or "" for name in both}


def test_an_answer_does_not_wait_for_the_network_and_leaves_the_processor_to_others(
    server: Server, tmp_path: Path
) -> None:
    photo = save_photo(tmp_path / "one.png", bright=True, seed=1).read_bytes()
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    status, times = Path(f"/proc/{server.process.pid}/stat"), []

    def processor_seconds() -> float:
        user, system = status.read_text().rpartition(")")[2].split()[11:13] if status.exists() else ("0", "0")
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    before = processor_seconds()
    for _ in range(50):
        begun = time.perf_counter()
        connection.request("POST", "/v1/inspect", photo)
        connection.getresponse().read()
        times.append(time.perf_counter() - begun)
    connection.close()
    assert min(times) < 0.035, "Nagle's algorithm and delayed acknowledgements cost 40 ms"
    assert processor_seconds() - before < 50 * 0.012, "threads that wait for the next photo are not busy"


def test_raw_pixels(server: Server, model: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    sizes = {"width": 60, "height": 40}
    answer = server.client.post("/v1/inspect", params=sizes, content=pixels.tobytes()).json()
    assert answer["logit"] == pytest.approx(ExportedInspector.load(model)(pixels).logit, abs=1e-5)
    assert server.client.post("/v1/inspect", params=sizes, content=b"too few").status_code == 400


@pytest.mark.parametrize("body", [b"no photo", b"\x89PNG\r\n\x1a\n" + bytes(50), b"\xff\xd8\xff" * 99])
def test_what_is_no_image_is_never_passed(server: Server, body: bytes) -> None:
    response = server.client.post("/v1/inspect", content=body)
    assert response.status_code == 422
    assert response.json()["verdict"] == "REVIEW"
    assert response.json()["error"]


def test_wrong_requests_are_refused(server: Server) -> None:
    post = server.client.post
    assert post("/v1/inspect", content=b"").status_code == 400
    assert post("/v1/inspect", content=bytes(3_000_000)).status_code == 413
    assert post("/v1/inspect", content=iter([bytes(1_000_000)] * 3)).status_code == 413, "chunked, without a length"
    assert post("/v1/inspect", files={"other": b"x"}).status_code == 400
    torn = {"content-type": "multipart/form-data; boundary=x"}
    assert post("/v1/inspect", content=b"--x\r\nrubbish", headers=torn).status_code == 400
    assert post("/v1/inspect", content=b"x", headers={"origin": "http://elsewhere.example"}).status_code == 403
    assert server.client.get("/nothing").status_code == 404
    typed = post("/v1/inspect", params={"part": 1, "camra": "top"}, content=b"x")
    assert (typed.status_code, typed.json()["detail"][:37]) == (400, "camra: there is no such parameter; ex")
    assert server.client.get("/?camera=top").status_code == 200
    for origin in ("http://[", "null", "http://host:abc"):
        assert server.client.get("/v1/model", headers={"origin": origin}).status_code == 403
    rebound = {"host": "elsewhere.example:8000", "origin": "http://elsewhere.example:8000"}
    assert server.client.get("/v1/rows", headers=rebound).status_code == 403, "a name that points here meanwhile"
    assert server.client.get("/v1/model", headers={"host": "[::1]:8000"}).status_code == 200
    assert server.client.get("/health").json() == {"status": "ok"}


def test_a_slow_body_is_let_go(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        begun = time.monotonic()
        assert b" 408 " in client.recv(1000)
        assert time.monotonic() - begun < 5


def test_pages_load_nothing_from_elsewhere(server: Server) -> None:
    for path in ("/", "/docs"):
        page = server.client.get(path)
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http:" not in policy
    assert "Incorrect" in server.client.get("/").text
    assert "/v1/inspect" in server.client.get("/docs").text
    assert server.client.get("/v1/model").json()["models"][0]["decision"]["threshold"] == 0.5


def test_sigterm_ends_it_with_what_is_in_flight_answered(model: Path, tmp_path: Path) -> None:
    data = save_photo(tmp_path / "a.png", bright=True, seed=0).read_bytes()
    server = Server(f"model={model}")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(data)}\r\n\r\n"
        client.sendall(head.encode() + data[:10])
        time.sleep(0.3)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        client.sendall(data[10:])
        answer = b""
        while more := client.recv(4096):
            answer += more
    assert b" 200 " in answer.split(b"\r\n")[0]
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["verdict"] in ("PASS", "REJECT")
    assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 5
    server.process.communicate()
    server.client.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections linger, listeners do not
        again.bind((host, int(port)))


class Slow:
    """A model that waits until it is released."""

    decode = DecodeSettings(8, 8)

    def __init__(self) -> None:
        self.go, self.entered = threading.Event(), threading.Event()
        self.batches: list[int] = []

    def inspect_decoded(self, photos: list[Decoded]) -> list[Inspection]:
        self.entered.set()
        self.go.wait(60)
        self.batches.append(len(photos))
        if any(photo.error for photo in photos):
            raise RuntimeError("broken")
        return [Inspection(None, p.sha256, Verdict.PASS, 0.1, -2.2, 0.5, None, "", "", 0.0, "") for p in photos]


def test_no_more_wait_than_may_and_none_is_lost(tmp_path: Path) -> None:
    photos = [save_photo(tmp_path / f"{seed}.png", bright=True, seed=seed) for seed in range(20)]
    model = Slow()
    engine = Engine(20)
    results = [engine.submit(photos[0], model)]
    assert model.entered.wait(60)
    results += [engine.submit(photo, model) for photo in photos[1:]]
    with pytest.raises(Busy):
        engine.submit(photos[0], model)
    assert engine.on_the_way == 20
    while engine._decoded.qsize() < 19:
        time.sleep(0.01)
    model.go.set()
    engine.close()
    assert len({result.result(0).sha256 for result in results}) == 20
    assert sum(model.batches) == 20
    assert max(model.batches) <= 8
    assert model.batches == [1, 8, 8, 3], "what waited went through the model together"
    assert engine.on_the_way == 0


def test_a_fault_of_the_model_reaches_who_asked_and_not_the_next(tmp_path: Path) -> None:
    model = Slow()
    model.go.set()
    engine = Engine(4)
    with pytest.raises(RuntimeError, match="broken"):
        engine.submit(b"no photo", model).result(10)
    good = save_photo(tmp_path / "a.png", bright=True, seed=0)
    assert engine.submit(good, model).result(10).verdict == Verdict.PASS
    engine.close()
