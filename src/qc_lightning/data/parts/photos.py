"""The embedded dataset: photos of a machined part at an inspection station, rendered on first use.

Half of the photos show a good part and half a part with one defect: a missing hole, a crack, a dent, a scratch, a stain
or a burr, from obvious to barely visible. The station (fixture and camera) is the same in all photos of a seed; the
part, its position, the light and the exposure vary.
"""

import csv
import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

from qc_lightning.core.atomic import unfinished_folder
from qc_lightning.core.bars import Progress
from qc_lightning.core.errors import UserError
from qc_lightning.core.system import cores
from qc_lightning.data.parts.defects import DEFECTS, MISSING_HOLE
from qc_lightning.data.parts.scene import FRAME, HOLES, SIZE, drill, machine
from qc_lightning.data.parts.station import light, photograph

CLASSES = ("Correct", "Incorrect")  # indexed by label
COLUMNS = ("file", "label", "defect", "severity", "seed")
_Row = tuple[str, str, str, str, int]
_POOL_FROM = 1000  # below this number starting worker processes costs more than it saves


@dataclass(frozen=True, slots=True)
class Part:
    """One photo and its ground truth.

    Attributes:
        image: RGB, uint8 [256, 256, 3].
        mask: uint8 [256, 256], 255 on the defect and 0 elsewhere; all 0 for Correct.
        label: 1 for Incorrect, 0 for Correct.
        defect: kind of defect, "" for Correct.
        severity: 0 (barely visible) to 1 (obvious); 0 for Correct.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    label: int
    defect: str
    severity: float


def label_of(index: int, seed: int) -> int:
    """1 for exactly one of each pair (0, 1), (2, 3), ..., at random, so that an index does not reveal the class."""
    coin = hashlib.sha256(f"{seed}/{index // 2}".encode()).digest()[0] & 1
    return (index & 1) ^ coin


def render_part(index: int, seed: int) -> Part:
    """Render photo `index` of the station `seed`, the same on every machine; both numbers are in [0, 2**32)."""
    # RandomState instead of a Generator: NumPy guarantees that its streams never change (NEP 19)
    return _render(index, seed, RandomState([seed, index, 1]) if label_of(index, seed) else None)


def render_sound(index: int, seed: int) -> NDArray[np.uint8]:
    """The photo of `render_part` as it would be without the defect, uint8 [256, 256, 3]."""
    return _render(index, seed, None).image


def _render(index: int, seed: int, harm: RandomState | None) -> Part:
    kind, severity, mask = "", 0.0, np.zeros((SIZE, SIZE), np.uint8)
    if harm is not None:
        kind, severity = tuple(DEFECTS)[harm.randint(len(DEFECTS))], harm.random_sample()
    scene = RandomState([seed, index])
    surface = machine(scene)
    if kind != MISSING_HOLE:
        for hole in HOLES:
            drill(surface, hole)
    if harm is not None:
        cover = DEFECTS[kind](surface, harm, severity)
        edge = (SIZE - FRAME) // 2
        mask[edge:-edge, edge:-edge][cover > 0] = 255
    return Part(photograph(light(surface, scene, seed), scene), mask, int(bool(kind)), kind, severity)


def ensure_parts(root: Path, count: int, seed: int) -> Path:
    """Return the folder of the parts dataset, rendering it if it is missing or incomplete.

    `root/parts-v1-<count>-<seed>/` holds ``Correct/*.jpg``, ``Incorrect/*.jpg``, ``masks/<same stem>.png`` for the
    Incorrect ones and ``parts.csv`` (file, label, defect, severity, seed). It appears in one step, so it is complete or
    missing, and several processes may request it at once.

    Args:
        root: folder for the sets, created if missing.
        count: number of photos, half of each class (one more Correct when odd). From 1,000 on, all cores render: a
            script that requests as many needs the usual ``if __name__ == "__main__"``.
        seed: seed of the station, in [0, 2**32).

    Raises:
        UserError: `count` or `seed` is out of range, or the photos cannot be written.
    """
    if count < 1:
        raise UserError(f"expected at least 1 photo in the parts set, got {count}; set a count such as 180")
    if not 0 <= seed < 2**32:
        raise UserError(f"expected a seed from 0 to {2**32 - 1} for the parts set, got {seed}; choose another")
    folder = root / f"parts-v1-{count}-{seed}"
    if _is_whole(folder, count):
        return folder
    try:
        with unfinished_folder(root) as staging:
            _fill(staging, count, seed)
            _publish(staging, folder, count)
    except OSError as error:
        raise UserError(
            f"expected to write {count} photos to {root}, got: {error.strerror or error}; "
            "make room or give a data folder that can be written"
        ) from error
    return folder


def _is_whole(folder: Path, count: int) -> bool:
    """Whether every photo and mask in parts.csv exists and is not empty."""
    try:
        with (folder / "parts.csv").open(newline="", encoding="utf-8") as lines:
            records = list(csv.DictReader(lines))
        present = {
            f"{name}/{entry.name}"
            for name in (*CLASSES, "masks")
            for entry in os.scandir(folder / name)
            if entry.stat().st_size > 0
        }
    except (OSError, ValueError, csv.Error):
        return False
    files = [row.get("file") or "" for row in records]
    masks = {f"masks/{Path(file).stem}.png" for file in files if file.startswith(CLASSES[1])}
    return len(files) == count and present == masks.union(files)


def _publish(staging: Path, folder: Path, count: int) -> None:
    """Move the finished `staging` to `folder` in one step, unless another process was first."""
    for attempt in range(3):
        try:
            staging.replace(folder)
            return
        except OSError:
            if _is_whole(folder, count):
                return
            if attempt == 2:
                raise
        # a damaged set is moved away in one step too, unless another process has just done so
        damaged = staging.with_name(f"{staging.name}-{attempt}")
        with suppress(FileNotFoundError):
            folder.replace(damaged)
        shutil.rmtree(damaged, ignore_errors=True)


def _fill(staging: Path, count: int, seed: int) -> None:
    indices = list(range(count))
    if count % 2 and label_of(count - 1, seed):
        indices[-1] += 1  # with an odd count the last photo is the Correct one of its pair
    render = partial(_save, staging=staging, seed=seed)
    with (
        (staging / "parts.csv").open("w", newline="", encoding="utf-8") as file,
        closing(_rows(render, indices)) as rendered,  # closing it ends the worker processes, also on Ctrl-C
    ):
        for name in (*CLASSES, "masks"):
            (staging / name).mkdir()
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(Progress(rendered, total=count, desc="Rendering the parts set", unit="photo", delay=2))


def _save(index: int, staging: Path, seed: int) -> _Row:
    """Render one photo into `staging` and return its row of parts.csv."""
    part = render_part(index, seed)
    file = f"{CLASSES[part.label]}/part-{index:06d}.jpg"
    # all options given, so that a change of Pillow's defaults has no effect
    Image.fromarray(part.image).save(staging / file, "JPEG", quality=88, subsampling="4:2:0", optimize=False)
    if part.label:
        Image.fromarray(part.mask).save(staging / "masks" / f"part-{index:06d}.png")
    return file, CLASSES[part.label], part.defect, f"{part.severity:.3f}", seed


def _begin_worker() -> None:
    """Ignore Ctrl-C, which the parent handles, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _rows(render: Callable[[int], _Row], indices: Sequence[int]) -> Generator[_Row, None, None]:
    """`render` each of `indices` and return the rows in order; many photos use one process per core."""
    if len(indices) < _POOL_FROM:
        yield from map(render, indices)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores(), context, initializer=_begin_worker) as pool:
        try:
            yield from pool.map(render, indices, chunksize=32)
        except BrokenProcessPool as error:
            raise UserError(
                "expected the rendering processes to run to the end, but one died; free memory, or, in a script of "
                'your own, call from under if __name__ == "__main__"'
            ) from error
