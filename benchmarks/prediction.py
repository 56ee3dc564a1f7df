"""Speed of prediction relative to the necessary work: `make bench`, or `python benchmarks/prediction.py`.

Compares prediction with decoding and resizing the same files on as many threads, and a single photo with its decoding
plus the network's forward pass. Both sides alternate in one warm process, so that a busy machine slows both; the median
ratio of the rounds is printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from qc_lightning.core.run import Run
from qc_lightning.core.system import cores
from qc_lightning.data.decoding.decode import decode
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.stream import Stream

MEGAPIXELS_12 = (4000, 3000)


def trained(work: Path) -> tuple[Inspector, list[Path]]:
    """The paper's network after one epoch on the ELPV photos, and these photos, PNGs of 300 x 300."""
    arguments = ["experiment=paper", "data=elpv", "trainer.max_epochs=1", "report=false", f"hydra.run.dir={work}/run"]
    subprocess.run([sys.executable, "-m", "qc_lightning.train", *arguments], cwd=work, capture_output=True, check=True)
    lines = (work / "run" / "split.csv").read_text().splitlines()[1:]
    return Inspector.load(Run.open(str(work / "run")), "cpu"), [Path(line.split(",")[0]) for line in lines]


def enlarge(paths: Sequence[Path], work: Path, count: int) -> list[Path]:
    """Write some of the photos as JPEGs of 12 megapixels, with a sensor's noise."""
    files = []
    for number, path in enumerate(paths[:count]):
        photo = np.asarray(Image.open(path).convert("RGB").resize(MEGAPIXELS_12, Image.Resampling.BICUBIC), np.float32)
        noise = np.random.default_rng(number).normal(0, 4, photo.shape[:2]).astype(np.float32)[..., None]
        files.append(work / f"{number:03d}.jpg")
        Image.fromarray((photo + noise).clip(0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def seconds_of(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def many(inspector: Inspector, paths: Sequence[Path], rounds: int) -> tuple[float, float, float]:
    """Photos/s of decoding alone, of prediction, and prediction's share of decoding's, medians."""
    decoding, predicting = [], []
    with ThreadPoolExecutor(cores()) as pool:
        for _ in range(rounds):
            decoding.append(seconds_of(lambda: sum(1 for _ in pool.map(lambda p: decode(p, inspector.decode), paths))))
            with Stream(inspector, 64) as stream:
                predicting.append(seconds_of(lambda: sum(len(batch) for batch in stream.inspect(paths))))
    ratio = statistics.median(alone / whole for alone, whole in zip(decoding, predicting, strict=True))
    return len(paths) / statistics.median(decoding), len(paths) / statistics.median(predicting), ratio


def _inspect(stream: Stream, path: Path) -> None:
    list(stream.inspect([path]))


def one(inspector: Inspector, paths: Sequence[Path]) -> tuple[float, float, float]:
    """Median milliseconds of decoding, of the network, and of a photo from file to verdict."""
    decoding, network, whole = [], [], []
    with Stream(inspector, 64) as stream:
        for path in [*paths[:3], *paths]:  # the first ones warm up
            decoding.append(seconds_of(partial(decode, path, inspector.decode)))
            pixels = decode(path, inspector.decode)[None]
            network.append(seconds_of(partial(inspector.batch_scores, pixels)))
            whole.append(seconds_of(partial(_inspect, stream, path)))
    p50 = [1000 * statistics.median(times[3:]) for times in (decoding, network, whole)]
    return p50[0], p50[1], p50[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qc-bench-") as folder:
        print("training a network and writing large photos ...", flush=True)
        inspector, small = trained(Path(folder))
        sets = {"PNG of 300 x 300": small, "JPEG of 12 megapixels": enlarge(small, Path(folder), 48)}
        print(f"{cores()} cores, load {os.getloadavg()[0]:.1f}\n")
        for name, paths in sets.items():
            alone, whole, ratio = many(inspector, paths, asked.rounds)
            missed = "" if ratio >= 0.9 else "   missed"
            print(f"{name}: decoding alone {alone:.0f} photos/s, prediction {whole:.0f}")
            print(f"  ratio {ratio:.2f}, target 0.90{missed}")
            decoding, network, photo = one(inspector, paths[:300])
            ratio = photo / (decoding + network)
            missed = "" if ratio <= 1.15 else "   missed"
            print(f"  one at a time, p50 in ms: decoding {decoding:.2f}, network {network:.2f}, both {photo:.2f}")
            print(f"  ratio {ratio:.2f}, target 1.15{missed}")


if __name__ == "__main__":
    main()
