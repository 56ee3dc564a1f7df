"""What photos cost on a Ray cluster: photos a second, memory, and from them hours and money of any number.

    python benchmarks/scale.py RUN [photos=10000] [workers=1,2] [side=64] [core_hour=0.04] [thousand_reads=0.0004]

RUN is a run or an exported inspector. The photos are hard links to 100 JPEGs: names differ, bytes repeat.
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
_PER_FOLDER = 1000


def make(folder: Path, count: int, side: int) -> None:
    """JPEGs of smooth noise, about a tenth of a byte a pixel, as photos of parts are."""
    (folder / "files").mkdir(parents=True)
    for number in range(_FILES):
        noise = np.random.RandomState(number).randint(0, 256, (side // 8, side // 8, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(
            folder / f"files/{number}.jpg", quality=90
        )
    for number in range(count):
        target = folder / f"photos/{number // _PER_FOLDER:04d}/{number:07d}.jpg"
        if number % _PER_FOLDER == 0:
            target.parent.mkdir(parents=True)
        os.link(folder / f"files/{number % _FILES}.jpg", target)


def memory(driver: int, worst: dict[str, int], ended: threading.Event) -> None:
    """Keep the largest memory of the driver and of any worker, bytes that are not shared."""
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
    """One prediction, timed from the first row to the last: starting Ray and the workers is left out."""
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


def main() -> None:
    """Measure and print."""
    run, *words = sys.argv[1:]
    given = {"photos": "10000", "workers": "1,2", "side": "64", "core_hour": "0.04", "thousand_reads": "0.0004"}
    given |= dict(word.split("=") for word in words)
    with tempfile.TemporaryDirectory(prefix="qc-scale-") as name:
        folder = Path(name)
        make(folder, int(given["photos"]), int(given["side"]))
        for workers in given["workers"].split(","):
            row = measure(run, folder / "photos", folder / f"out{workers}", int(workers))
            print("  ".join(f"{key} {value:,.1f}" for key, value in row.items()), flush=True)
    per_photo = row["workers"] / row["photos/s"]
    for count in (10**6, 10**7, 10**8):
        hours = count * per_photo / 3600
        money = hours * float(given["core_hour"]) + count / 1000 * float(given["thousand_reads"])
        print(f"{count:,} photos: {hours:,.1f} core hours, {money:,.2f} at the prices given")


if __name__ == "__main__":
    main()
