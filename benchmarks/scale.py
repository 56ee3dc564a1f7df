"""Cost of photos: core-seconds by size, and photos per second and memory on a Ray cluster by number.

    python benchmarks/scale.py RUN sides=256,1024,2048,4096 [PRICES]               what one core does, without Ray
    python benchmarks/scale.py RUN photos=10000,100000 [workers=1,2] [side=64]     a cluster of this machine

PRICES are core_hour=0.04 thousand_reads=0.0004 gb=0, in any currency. RUN is a run or an exported inspector. The photos
are hard links to 100 JPEGs: names differ, bytes repeat.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet
from PIL import Image

_FILES = 100
_PRICES = {"core_hour": 0.04, "thousand_reads": 0.0004, "gb": 0.0}
_PER_FOLDER = 1000


def make(folder: Path, count: int, side: int) -> None:
    """JPEGs of smooth noise, about a tenth of a byte a pixel, as photos of parts are."""
    (folder / "files").mkdir(parents=True)
    files = min(_FILES, count)
    for number in range(files):
        noise = np.random.RandomState(number).randint(0, 256, (side // 8, side // 8, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(
            folder / f"files/{number}.jpg", quality=90
        )
    for number in range(count):
        target = folder / f"photos/{number // _PER_FOLDER:04d}/{number:07d}.jpg"
        if number % _PER_FOLDER == 0:
            target.parent.mkdir(parents=True)
        os.link(folder / f"files/{number % files}.jpg", target)


def memory(driver: int, worst: dict[str, int], ended: threading.Event) -> None:
    """Record the peak unshared memory in bytes of the driver and of any worker."""
    while not ended.wait(0.5):
        try:
            processes = [psutil.Process(driver), *psutil.Process(driver).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                words, info = " ".join(process.cmdline()), process.memory_full_info()
            except psutil.Error:
                continue
            kind = "driver" if process.pid == driver else "worker" if "MapWorker" in words else "ray"
            worst[kind] = max(worst.get(kind, 0), info.uss)


def measure(run: str, photos: Path, output: Path, workers: int) -> dict[str, float]:
    """One prediction, timed from the first to the last row, without the start of Ray and the workers."""
    command = [sys.executable, "-m", "qc_lightning.predict", f"run={run}", f"source={photos}", "engine=ray"]
    begun = time.monotonic()
    process = subprocess.Popen([*command, "ray.address=local", f"ray.workers={workers}", f"output={output}"])
    worst: dict[str, int] = {}
    ended = threading.Event()
    watch = threading.Thread(target=memory, args=(process.pid, worst, ended))
    watch.start()
    code = process.wait()
    ended.set()
    watch.join()
    assert code == 0, code
    columns = [pyarrow.parquet.read_table(part, columns=["time", "seconds"]) for part in output.glob("part-*")]
    times = [datetime.fromisoformat(text) for table in columns for text in table["time"].to_pylist()]
    seconds = sum(sum(table["seconds"].to_pylist()) for table in columns)
    assert json.loads((output / "index.json").read_text())["complete"]
    span = (max(times) - min(times)).total_seconds()
    return {
        "photos": len(times),
        "workers": workers,
        "photos/s": len(times) / span,
        "core ms a photo": 1000 * seconds / len(times),
        "seconds in all": time.monotonic() - begun,
        **{f"{kind} MB": size / 1e6 for kind, size in sorted(worst.items())},
    }


def one_core(run: str, side: int, count: int) -> tuple[float, float]:
    """Core-seconds and megabytes per photo of a worker: reading, decoding, network and row."""
    from qc_lightning.prediction.model import load_model, open_model
    from qc_lightning.prediction.on_ray import InspectionWork

    inspector = load_model(open_model(run), "cpu", "review", None)
    with tempfile.TemporaryDirectory(prefix="qc-scale-") as name:
        folder = Path(name)
        make(folder, count, side)
        photos = sorted((folder / "photos").rglob("*.jpg"))
        work = InspectionWork(inspector, "cpu", 32, 1)
        tasks = [json.dumps([str(photo), "", None]).encode() for photo in photos]
        work(tasks[:4])
        spent = []
        for _ in range(3):
            begun = time.process_time()
            work(tasks)
            spent.append((time.process_time() - begun) / count)
        return sorted(spent)[1], sum(photo.stat().st_size for photo in photos) / count / 1e6


def costs(run: str, sides: list[int], prices: dict[str, float]) -> None:
    """Print the cost of a million photos of each size."""
    for side in sides:
        seconds, megabytes = one_core(run, side, max(20, min(1000, 40_000_000 // side**2)))
        hours, gigabytes = 1e6 * seconds / 3600, 1e6 * megabytes / 1e3
        money = hours * prices["core_hour"] + 1000 * prices["thousand_reads"] + gigabytes * prices["gb"]
        print(
            f"{side} x {side}: {1 / seconds:,.0f} photos/s a core, {1000 * seconds:.2f} core ms a photo, "
            f"{megabytes:.3f} MB a photo; a million: {hours:,.2f} core hours, {gigabytes:,.0f} GB read, "
            f"1,000,000 reads, {money:,.2f} at the prices given",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    run, *words = sys.argv[1:]
    given = dict(word.split("=") for word in words)
    prices = {name: float(given.get(name, value)) for name, value in _PRICES.items()}
    if "sides" in given:
        costs(run, [int(side) for side in given["sides"].split(",")], prices)
        return
    for photos in given.get("photos", "10000").split(","):
        with tempfile.TemporaryDirectory(prefix="qc-scale-") as name:
            folder = Path(name)
            make(folder, int(photos), int(given.get("side", "64")))
            for workers in given.get("workers", "1").split(","):
                row = measure(run, folder / "photos", folder / f"out{workers}", int(workers))
                print("  ".join(f"{key} {value:,.1f}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
