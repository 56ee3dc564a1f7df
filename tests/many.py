"""Memory of many photos and of many jobs."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
from PIL import Image

import forked
from full_disk import SMALL


def photos(root: Path, count: int) -> None:
    """A number of small, different gray photos, half of them of each class."""
    rng = np.random.default_rng(0)
    for start in range(0, count, 1000):
        pixels = rng.integers(60, 120, (min(1000, count - start), 16, 16)).astype(np.uint8)
        pixels[1::2, :8, :8] = 250
        for place, one in enumerate(pixels):
            folder = root / ("Correct", "Incorrect")[place % 2] / f"{start // 1000:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(folder / f"{place:03d}.bmp")


def many_photos(scratch: Path, count: int) -> list[str]:
    """Rows of the table: peak memory and time of a training and of a prediction by number of photos."""
    photos(scratch / "many", count)
    os.environ["QC_LIGHTNING_CACHE"] = str(scratch / "cache")
    forked.import_all()
    small = ["data=folder", "data.root=many", "data.image_size=16", "model.hidden=[8]", "trainer=cpu"]
    calls = {
        "training (mlp, one epoch)": ("train", [*small, "trainer.max_epochs=1", "hydra.run.dir=run", "report=false"]),
        "prediction": ("predict", ["run=run", "source=many", "output=v.csv"]),
        "evaluation": ("evaluate", ["run=run", "data.root=many"]),
    }
    rows = []
    for name, (command, arguments) in calls.items():
        begun = time.monotonic()
        end = forked.run(forked.command(command, *arguments), scratch, seconds=3600)
        took = f"{end.peak / 1e9:.2f} GB, {time.monotonic() - begun:.0f} s"
        rows.append(f"| {count:,} photos of 16 px: {name} | 1 | exit {end.code}, {took} |")
        print(rows[-1], flush=True)
        if end.code:
            print(end.output[-600:])
    return rows


def many_jobs(scratch: Path, count: int) -> str:
    """A row of the table: memory growth of the process of a sweep by number of jobs."""
    forked.import_all()
    arguments = ["-m", *SMALL, "data.count=24", "trainer.max_epochs=1", "report=false"]

    def act() -> None:
        from qc_lightning.sweep.job import SweepJob

        call, sizes = SweepJob.__call__, list[int]()

        def measured(self: SweepJob, cfg: object) -> object:
            record = call(self, cfg)  # type: ignore[arg-type]
            lines = Path("/proc/self/status").read_text().splitlines()
            sizes.append(next(int(line.split()[1]) for line in lines if "RssAnon" in line))
            return record

        SweepJob.__call__ = measured  # type: ignore[assignment]
        try:
            forked.command("train", *arguments, f"optim.lr={_rates(count)}")()
        finally:
            print("\nSIZES " + json.dumps(sizes))

    end = forked.run(act, scratch, seconds=7200)
    found = re.search(r"SIZES (\[.*\])", end.output)
    sizes = np.array(json.loads(found[1]) if found else [0.0, 0.0], float)
    slope = np.polyfit(np.arange(len(sizes))[10:], sizes[10:], 1)[0] if len(sizes) > 20 else np.nan
    grown = (sizes[-1] - sizes[min(10, len(sizes) - 1)]) / 1000
    how = f"exit {end.code}, {slope:.1f} kB a job, {grown:+.1f} MB after the tenth"
    return f"| jobs of one sweep | {len(sizes):,} | {how} |"


def _rates(count: int) -> str:
    return ",".join(f"{0.0001 * number:.4f}" for number in range(1, count + 1))
