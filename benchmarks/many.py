"""Training on very many photos: `python benchmarks/many.py --photos 100000`.

Renders at most 10,000 photos; beyond that each is written several times, as files that differ in a few bytes after
their end, so that no cache confuses them. Trains with an empty and with a warm cache. Prints photos/s of decoding and
of an epoch next to those of 2,000 photos, and the peak memory of a training.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qc_lightning.core.system import cores

RENDERED = 10_000


def train(root: Path, cache: Path, epochs: int) -> tuple[float, Path]:
    """Seconds of a complete training, and its folder."""
    folder = Path(tempfile.mkdtemp(dir=cache.parent))
    arguments = ["experiment=paper", "data=folder", f"data.root={root}", f"data.cache_dir={cache}", "report=false"]
    more = [f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}", "trainer.enable_progress_bar=false"]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "qc_lightning.train", *arguments, *more], check=True, capture_output=True)
    return time.perf_counter() - begun, folder


def write_photos(parts: Path, count: int, work: Path) -> Path:
    """A folder per class; beyond RENDERED, `count` is rounded up to a multiple of it."""
    from qc_lightning.data.parts.photos import ensure_parts

    rendered = ensure_parts(parts, min(count, RENDERED), seed=0)
    for file in rendered.glob("*orrect/*.jpg"):
        folder = work / f"photos-{count}" / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(-(-count // RENDERED)):
            (folder / f"{file.stem}-{number}.jpg").write_bytes(file.read_bytes() + number.to_bytes(4))
    return work / f"photos-{count}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--parts", type=Path, default=Path("parts"), help="folder to render into, kept")
    asked = parser.parse_args()
    for count in (2000, asked.photos):
        with tempfile.TemporaryDirectory(prefix="qc-bench-") as work:
            root, cache = write_photos(asked.parts, count, Path(work)), Path(work) / "cache"
            cold, folder = train(root, cache, 1)
            one, _ = train(root, cache, 1)
            more, _ = train(root, cache, 4)
            subsets = [row["subset"] for row in csv.DictReader((folder / "split.csv").open(newline=""))]
            timing = json.loads((folder / "metrics.json").read_text())["timing_s"]
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        print(
            f"{count} photos, {cores()} cores: decoding {count / (cold - one):.0f} photos/s, an epoch "
            f"{subsets.count('train') * 3 / (more - one):.0f} photos/s, most memory so far {memory:.2f} GB\n"
            f"  the cold run, seconds: {timing}",
            flush=True,
        )


if __name__ == "__main__":
    main()
