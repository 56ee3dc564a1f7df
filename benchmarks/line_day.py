"""Memory and handles of a service over many parts: `python benchmarks/line_day.py MODEL FOLDER [PHOTOS]`.

One part per second is 86,400 per day. Eight clients send small photos as fast as they are answered to a service with a
log, kept photos, spot checks and two receivers; a person judges one of 1,000 parts. The model need not be a good one.
FOLDER is for the output.
"""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from qc_lightning.inference.log_file import first_fault

CLIENTS, ROUND = 8, 5000


class Client(threading.local):
    """A connection a thread."""

    def __init__(self, host: str) -> None:
        self.connection = http.client.HTTPConnection(host, timeout=60)
        self.random = np.random.default_rng(threading.get_ident())

    def inspect(self, number: int) -> int:
        pixels = self.random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        status, answer = self.ask(f"/v1/inspect?width=32&height=32&part={number}&camera=top", pixels.tobytes())
        if status == 200 and number % 1000 == 0:
            said = {"row": answer["row"], "verdict": "good", "name": "Anna", "reason": "looked at"}
            self.ask("/v1/override", json.dumps(said).encode(), {"Content-Type": "application/json"})
        return status

    def ask(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, object]]:
        self.connection.request("POST", path, body, headers or {})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


def state(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    value = {key: int(status.split(key)[1].split()[0]) for key in ("VmRSS:", "Threads:")}
    handles = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return f"{value['VmRSS:'] / 1024:.1f} MB, {handles} handles, {value['Threads:']} threads"


def main() -> None:
    model, folder, photos = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"log={folder / 'line.sqlite'}", f"csv={folder / 'rows.csv'}", f"jsonl={folder / 'rows.jsonl'}"]
    limits = ["queue=64", "keep=review", "keep_gigabytes=0.01", "spot_check=50"]
    command = [sys.executable, "-m", "qc_lightning.serve", f"model={model}", "force=true", "port=0", *files, *limits]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    address = next(line for line in service.stdout if "/ for people" in line).split("/ for people")[0]
    client, wrong, begun = Client(str(urlsplit(address).netloc)), 0, time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for first in range(1, photos + 1, ROUND):
            wrong += sum(status != 200 for status in pool.map(client.inspect, range(first, first + ROUND)))
            print(f"{first + ROUND - 1} photos, {time.perf_counter() - begun:.0f} s: {state(service.pid)}", flush=True)
    print(f"{wrong} without a verdict")
    service.send_signal(signal.SIGTERM)
    print(f"exit code {service.wait(30)}; {first_fault(folder / 'line.sqlite')[::2]}")


if __name__ == "__main__":
    main()
