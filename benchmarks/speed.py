"""Speed of training relative to a naive script: `make bench`, or `python benchmarks/speed.py --runs 1`.

Complete processes in alternating runs on the same files: the paper's recipe on the ELPV photos, 10 epochs, tested once.
Every ratio is taken within one round, which limits the effect of a busy machine; the median of the rounds is printed.
An epoch's time is the difference between a long and a short training, on every side.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
TRAIN = [sys.executable, "-m", "qc_lightning.train"]
QUICK = {"--help": ["--help"], "--cfg job": ["--cfg", "job"], "config error": ["optim.lr=-1"]}
# ratios of the two sides: (name, numerator, denominator, limit)
TARGETS = (
    ("an epoch, of naive's", "epoch", "naive epoch", 0.10),
    ("an epoch, of a bare loop's", "epoch", "bare epoch", 1.25),
    ("whole process, cold cache, of naive's", "cold", "naive", 0.22),
    ("whole process, warm cache, of naive's", "warm", "naive", 0.17),
    ("whole process, cold cache, of Keras's", "cold", "keras", 0.8),
    ("whole process, warm cache, of Keras's", "warm", "keras", 0.6),
)


def run(command: list[str], work: Path, code: int = 0) -> float:
    """Seconds of a complete process."""
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=work, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode != code:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


def write_photos(work: Path) -> Path:
    """Write the ELPV photos to train/ and test/ with a folder per class, split as in a run."""
    dealt = work / "dealt"
    quick = ["trainer.max_epochs=1", "report=false", f"hydra.run.dir={dealt}"]
    run([*TRAIN, "experiment=paper", "data=elpv", *quick], work)
    root = work / "photos"
    with (dealt / "split.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            folder = root / row["subset"] / row["label"]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(row["path"], folder)
    return root


def ours(root: Path, work: Path, cache: Path, epochs: int = 10, report: bool = False) -> float:
    folder = Path(tempfile.mkdtemp(dir=work, prefix="run-"))
    arguments = ["experiment=paper", "data=folder", f"data.root={root}", f"data.cache_dir={cache}"]
    more = [f"trainer.max_epochs={epochs}", f"report={str(report).lower()}", f"hydra.run.dir={folder}"]
    return run([*TRAIN, *arguments, *more], work)


def one_round(root: Path, work: Path, keras: str | None, naive_workers: int) -> dict[str, float]:
    """Seconds of every side, run once, one after the other."""
    cache = Path(tempfile.mkdtemp(dir=work, prefix="cache-"))

    def naive(epochs: int) -> float:
        arguments = [str(root), f"--epochs={epochs}", f"--workers={naive_workers}"]
        return run([sys.executable, str(HERE / "naive.py"), *arguments], work)

    def bare(epochs: int) -> float:
        return run([sys.executable, str(HERE / "bare_loop.py"), str(root), str(cache), f"--epochs={epochs}"], work)

    seconds = {"cold": ours(root, work, cache), "naive": naive(10), "warm": ours(root, work, cache), "bare": bare(10)}
    if keras:
        peer = [keras, str(HERE / "keras_peer.py"), str(root)]
        seconds["keras"] = run(peer, work)
        seconds["keras epoch"] = (run([*peer, "--epochs=50"], work) - seconds["keras"]) / 40
    seconds["epoch"] = (ours(root, work, cache, 50) - seconds["warm"]) / 40
    seconds["bare epoch"] = (bare(50) - seconds["bare"]) / 40
    seconds["naive epoch"] = (seconds["naive"] - naive(2)) / 8
    seconds["with report"] = ours(root, work, cache, report=True)
    for name, arguments in QUICK.items():
        seconds[name] = run([*TRAIN, *arguments], work, code=2 if name == "config error" else 0)
    limits = [sys.executable, str(HERE / "bare_loop.py"), str(root), str(cache), "--limits"]
    found = json.loads(subprocess.run(limits, cwd=work, capture_output=True, text=True, check=True).stdout)
    return seconds | {"decode only": found["decode_s"], "forward+backward only": found["forward_backward_s"]}


def show(rounds: list[dict[str, float]]) -> None:
    """Medians of the rounds, and median ratios next to the targets."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n{len(rounds)} rounds, {len(os.sched_getaffinity(0))} cores, load at the end {load}\n\nseconds, median")
    values: dict[str, list[float]] = defaultdict(list)
    for found in rounds:
        for name, seconds in found.items():
            values[name].append(seconds)
    for name, of in values.items():
        print(f"  {name:40}{statistics.median(of):8.2f}   ({min(of):.2f} to {max(of):.2f})")
    print(f"\n{'ratio, median':42}{'measured':>8}{'target':>9}")
    for name, above, below, most in TARGETS:
        if below in values:
            ratio = statistics.median(found[above] / found[below] for found in rounds)
            print(f"  {name:40}{ratio:8.3f}{most:9.2f}{'' if ratio <= most else '   missed'}")
    report = statistics.median(found["with report"] - found["warm"] for found in rounds)
    print(f"  {'report and figures add, seconds':40}{report:8.2f}{2:9.2f}{'' if report <= 2 else '   missed'}")
    for name in QUICK:
        seconds = statistics.median(values[name])
        print(f"  {name + ' answers, seconds':40}{seconds:8.2f}{1:9.2f}{'' if seconds < 1 else '   missed'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="rounds; each takes about two minutes")
    parser.add_argument("--naive-workers", type=int, default=2, help="of the naive script's DataLoader")
    parser.add_argument("--keras", metavar="PYTHON", help="interpreter with keras and tensorflow; default: this one")
    asked = parser.parse_args()
    keras = asked.keras or (sys.executable if find_spec("keras") and find_spec("tensorflow") else None)
    if keras is None:
        print("Keras is left out: keras and tensorflow are not installed here (--keras names another interpreter)")
    with tempfile.TemporaryDirectory(prefix="qc-bench-") as folder:
        work = Path(folder)
        print("writing the ELPV photos into folders ...", flush=True)
        root = write_photos(work)
        rounds = []
        for number in range(asked.runs):
            print(f"round {number + 1} of {asked.runs} ...", flush=True)
            rounds.append(one_round(root, work, keras, asked.naive_workers))
            print("  " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in rounds[-1].items()), flush=True)
    show(rounds)


if __name__ == "__main__":
    main()
