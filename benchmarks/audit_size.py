"""Time of an audit's pixel checks relative to decoding: `python benchmarks/audit_size.py PHOTOS SIDE`.

The photos are windows of 240 pixels from ELPV's cells with a certain label, at nine positions, mirrored and rotated, as
PNGs of SIDE pixels in a temporary folder. Prints CPU and wall seconds of decoding into the cache and of the checks, and
the peak memory of the process. One size per process.
"""

import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from omegaconf import open_dict
from PIL import Image

from qc_lightning.auditing.photo_checks import check_files, pixel_checks
from qc_lightning.cli.compose import composed
from qc_lightning.config import AuditConfig, parse
from qc_lightning.data.checks.dataset_checks import check_photos
from qc_lightning.data.dataset import read_photos

CLASSES = ("Correct", "Incorrect")


def make(root: Path, count: int, side: int) -> None:
    """Write that number of different photos, in folders of a thousand."""
    folder = Path(find_spec("elpv_dataset").origin).parent / "data"  # type: ignore[union-attr, arg-type]
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    cells = [(folder / name, int(float(p))) for name, p, _ in rows if float(p) in (0.0, 1.0)]
    views = itertools.product((None, *Image.Transpose), (0, 30, 60), (0, 30, 60))
    for number, ((turn, left, top), (source, label)) in enumerate(itertools.product(views, cells)):
        if number == count:
            return
        target = root / CLASSES[label] / f"{number // 1000:03d}" / f"{number:06d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            window = image.resize((side, side), Image.Resampling.BOX, (left, top, left + 240, top + 240))
        (window if turn is None else window.transpose(turn)).save(target, compress_level=1)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print CPU and wall seconds of the block."""
    cpu, wall = time.process_time(), time.monotonic()
    yield
    print(f"{what}: {time.process_time() - cpu:.1f} CPU s, {time.monotonic() - wall:.1f} s", flush=True)


def main(count: int, side: int) -> None:
    with tempfile.TemporaryDirectory(prefix="qc-audit-") as scratch:
        make(Path(scratch), count, side)
        overrides = [f"data.root={scratch}", f"data.image_size={side}", f"data.cache_dir={scratch}/cache"]
        cfg = composed("audit", overrides)
        with open_dict(cfg):
            del cfg["hydra"]
        data = parse(cfg, AuditConfig).data
        print(f"{count} photos of {side} x {side}")
        with timed("decoding"):
            photos = read_photos(data)
        with timed("checks that a training makes too"):
            checked = check_photos(photos.photos, photos.positions, photos.store, data)
        with timed("the other pixel checks"):
            checks = [*check_files(photos), *checked.checks]
            checks += pixel_checks(photos.with_photos(checked.photos), checked, data)
        print("flagged: " + ", ".join(f"{check.name} {check.photos}" for check in checks if check.flagged))
        print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB of memory")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
