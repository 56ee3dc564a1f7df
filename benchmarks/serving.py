"""Latency and memory of the service: `python benchmarks/serving.py inspector.onnx PHOTOS [SETTING=VALUE ...]`.

Measures start time, memory, the overhead of a request over decoding and network, many clients, and shutdown, on
loopback without a physical network. PHOTOS is a folder.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.sources import find_photos

ONE_CLIENT, MANY, CLIENTS = 300, 1000, 8


class Client(threading.local):
    """A connection a thread."""

    def __init__(self, host: str) -> None:
        self.connection = http.client.HTTPConnection(host, timeout=60)

    def inspect(self, data: bytes) -> tuple[int, dict[str, object], float]:
        begun = time.perf_counter()
        self.connection.request("POST", "/v1/inspect", data)
        answer = self.connection.getresponse()
        body = json.loads(answer.read())
        return answer.status, body, time.perf_counter() - begun


def memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def processor_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def percentiles(seconds: list[float]) -> str:
    p50, p99 = np.percentile(1000 * np.array(seconds), (50, 99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def main() -> None:
    model, folder, *settings = sys.argv[1:]
    source = find_photos(folder, [])
    photos = [(source.root / name).read_bytes() for name in source.names[:100]]
    inspector = ExportedInspector.load(model)
    expected = inspector(list(photos))
    command = [sys.executable, "-m", "qc_lightning.serve", f"model={model}", "port=0", "queue=64", *settings]
    begun = time.perf_counter()
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    address = next(line for line in service.stdout if "/ for people" in line).split("/ for people")[0]
    client = Client(str(urlsplit(address).netloc))
    client.connection.request("GET", "/ready")
    assert client.connection.getresponse().read()
    print(f"ready after {time.perf_counter() - begun:.1f} s, {memory(service.pid)} MB resident")

    inside, outside, own = [], [], 0.0
    spent_before = processor_seconds(service.pid)
    for number in range(ONE_CLIENT):
        data = photos[number % len(photos)]
        before, own_before = time.perf_counter(), time.process_time()
        inspector(data)
        own += time.process_time() - own_before
        inside.append(time.perf_counter() - before)
        outside.append(client.inspect(data)[2])
    print(f"one client, {ONE_CLIENT} photos: {percentiles(outside)}; in a process of its own: {percentiles(inside)}")
    spent = 1000 * (processor_seconds(service.pid) - spent_before) / ONE_CLIENT
    print(
        f"processor time a request: {spent:.2f} ms in the service, {1000 * own / ONE_CLIENT:.2f} ms in its own process"
    )
    over = [out - alone for out, alone in zip(outside, inside, strict=True)]
    print(f"a request over decoding and network: {percentiles(over)}")

    before = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda number: client.inspect(photos[number % len(photos)]), range(MANY)))
    seconds = time.perf_counter() - before
    wrong = sum(
        status != 200
        or answer["verdict"] != expected[number % len(photos)].verdict
        or answer["sha256"] != expected[number % len(photos)].sha256
        for number, (status, answer, _) in enumerate(answers)
    )
    logits = [
        (float(str(answer["logit"])), expected[n % len(photos)].logit) for n, (_, answer, _) in enumerate(answers)
    ]
    gap = max(abs(got - (wanted or 0.0)) for got, wanted in logits)
    print(f"{MANY} photos from {CLIENTS} clients: {wrong} wrong or lost, logits differ by at most {gap:.1e}", end=", ")
    print(f"{MANY / seconds:.0f} a second, {percentiles([took for *_, took in answers])}", end="; ")
    print(f"{memory(service.pid)} MB resident")

    with ThreadPoolExecutor(CLIENTS) as pool:
        waiting = [pool.submit(client.inspect, photos[0]) for _ in range(CLIENTS)]
        time.sleep(0.005)
        begun = time.perf_counter()
        service.send_signal(signal.SIGTERM)
        code = service.wait(30)
        ended = time.perf_counter() - begun
        answered = sum(not one.exception() and one.result()[0] == 200 for one in waiting)
    print(f"SIGTERM with {CLIENTS} in flight: {answered} answered, exit code {code} after {ended:.1f} s", end=", ")
    print("its process is gone" if not os.path.exists(f"/proc/{service.pid}") else "its process is there")  # noqa: PTH110


if __name__ == "__main__":
    main()
