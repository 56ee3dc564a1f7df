"""`make torture`: broken photos and kills for as long as wanted, and a table of what became of them.

Needs a finished run of which it uses nothing but the model: it trains one on 40 rendered photos.
"""

import argparse
import csv
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from bad_files import KINDS, good_file, stream

KILL = str(Path(__file__).with_name("kill_at.py"))
Rows = list[tuple[str, ...]]


def rows_of(output: Path) -> Rows:
    """What matters of the rows of a prediction, sorted."""
    with output.open(newline="", encoding="utf-8") as file:
        return sorted(
            tuple(row[key] for key in ("path", "sha256", "probability", "verdict", "error"))
            for row in csv.DictReader(file)
        )


def call(number: int, run: Path, work: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """One prediction of work/in, killed before its change of that number; 0: not at all."""
    command = [sys.executable, KILL, str(number), "qc_lightning.predict", f"run={run}", "source=in", "sort=copy", *more]
    return subprocess.run(command, cwd=work, capture_output=True, text=True)


def unbroken(run: Path, work: Path) -> tuple[Rows, int]:
    """The rows of a prediction that nobody disturbs, and how many changes of files it makes."""
    done = call(0, run, work, "output=unbroken.csv")
    assert done.returncode == 0, done.stderr
    return rows_of(work / "unbroken.csv"), int(done.stdout.split()[-1])


def kill_and_resume(run: Path, work: Path, number: int) -> Rows:
    """The rows of a prediction that was killed before a change of a file and resumed."""
    output = f"killed-{number}.csv"
    call(number, run, work, f"output={output}", "resume=true")
    done = call(0, run, work, f"output={output}", "resume=true")
    assert done.returncode == 0, done.stderr
    return rows_of(work / output)


def fuzz(seconds: float, seed: int) -> Counter[str]:
    """Broken photos until the time is up: how many were refused, read, or ended in anything else."""
    import warnings

    from qc_lightning.data.decode import BadImage, DecodeSettings, decode_bytes

    warnings.simplefilter("ignore")
    settings, outcomes, end = DecodeSettings(64, 48), Counter[str](), time.monotonic() + seconds
    for kind, how, data in stream(seed):
        try:
            decode_bytes(data, settings)
            outcomes["read"] += 1
            outcomes[f"read: {kind}, {how}"] += 1
        except BadImage:
            outcomes["refused"] += 1
        except Exception as error:
            outcomes["traceback"] += 1
            print(f"seed {seed}, {kind}, {how}: {error!r}")
        if time.monotonic() > end:
            return outcomes
    raise AssertionError


def whole(count: int, seed: int) -> int:
    """How many of so many good photos of every kind are refused."""
    from qc_lightning.data.decode import BadImage, DecodeSettings, decode_bytes

    rng, refused = np.random.default_rng(seed), 0
    for kind in itertools.islice(itertools.cycle(KINDS), count):
        try:
            decode_bytes(good_file(rng, kind), DecodeSettings(64, 48))
        except BadImage:
            refused += 1
    return refused


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for broken photos")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    outcomes = fuzz(options.seconds, options.seed)
    tried = outcomes["read"] + outcomes["refused"] + outcomes["traceback"]
    print(f"commit {commit}, seed {options.seed}\n")
    print("| tried | how often | outcome |\n|---|---|---|")
    print(f"| broken photos | {tried:,} | {outcomes['refused']:,} refused, {outcomes['read']:,} read,", end=" ")
    print(f"{outcomes['traceback']} tracebacks |")
    good = min(20_000, 20 * int(options.seconds))
    print(f"| whole photos of every kind | {good:,} | {whole(good, options.seed)} refused |", flush=True)
    for key, count in sorted(outcomes.items()):
        if key.endswith(("zero rest", "closed", "cut")):
            print(f"| {key} | {count:,} | gave pixels |")
    if not options.kills:
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["QC_LIGHTNING_CACHE"] = str(work / "cache")
        train = [sys.executable, "-m", "qc_lightning.train", "data.count=40", "data.image_size=16", "model.hidden=[8]"]
        train += ["trainer=cpu", "trainer.max_epochs=1", "report=false"]
        subprocess.run(train, cwd=work, check=True, capture_output=True)
        run = next(iter((work / "outputs").glob("*/*")))
        rng = np.random.default_rng(options.seed)
        (work / "in").mkdir()
        for i in range(12):
            (work / "in" / f"{i}.png").write_bytes(good_file(rng, "png"))
        expected, changes = unbroken(run, work)
        numbers = [1 + i * changes // options.kills for i in range(options.kills)]
        unequal = [number for number in dict.fromkeys(numbers) if kill_and_resume(run, work, number) != expected]
        left = len(list(work.rglob(".unfinished-*")))
        print(f"| kills of a prediction, each resumed | {len(dict.fromkeys(numbers))} |", end=" ")
        print(f"{len(unequal)} with other rows than the unbroken one, {left} temporary files left |")


if __name__ == "__main__":
    main()
