"""Small pictures and mean colours of decoded photos, which the checks of a dataset compare."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qc_lightning.core.bars import Progress
from qc_lightning.core.system import cores
from qc_lightning.data.pixels.pixel_store import PixelStore

SIDE = 16  # pixels of the small pictures
_FINE = 32  # cells per side; the border is one cell wide
_BLOCK = 16  # photos at a time
_DENSE = 96  # sufficient pixels per side, three per cell; larger photos are subsampled

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Appearance:
    """Coarse appearance of n photos.

    Attributes:
        small: float32 [n, SIDE, SIDE], mean grey of each cell, 0 to 255.
        border: float32 [n, 9], of red, green and blue the mean and standard deviation along the photo's border, a
            thirty-second of its side wide, and how much lighter that is than as wide a frame just inside it.
        colour: float32 [n, 3], mean red, green and blue.
    """

    small: Floats
    border: Floats
    colour: Floats


def measure_appearance(store: PixelStore, positions: npt.NDArray[np.int64], progress: bool = True) -> Appearance:
    """Measure some photos of the store, on all cores, block by block."""
    n = len(positions)
    appearance = Appearance(
        np.empty((n, SIDE, SIDE), np.float32), np.empty((n, 9), np.float32), np.empty((n, 3), np.float32)
    )
    from_side = np.minimum(np.arange(_FINE), np.arange(_FINE)[::-1])
    frame = np.minimum(from_side[:, None], from_side).ravel()  # 0 for cells of the border, 1 just inside it, ...
    border, inside = np.flatnonzero(frame == 0), np.flatnonzero(frame == 1)
    halve = _averaging(_FINE, SIDE)

    def work(start: int) -> int:
        block = slice(start, min(start + _BLOCK, n))
        pixels = store.pixels(positions[block])
        step_y, step_x = (max(1, side // _DENSE) for side in pixels.shape[2:])
        pixels = pixels[:, :, ::step_y, ::step_x]
        down, across = (_averaging(side, _FINE) for side in pixels.shape[2:])
        reduced = down @ pixels.astype(np.float32) @ across.T  # [b, 3, _FINE, _FINE]
        cells = reduced.reshape(*reduced.shape[:2], -1)
        edge = cells.take(border, axis=2)
        mean = edge.mean(2)
        step = mean - cells.take(inside, axis=2).mean(2)
        appearance.border[block] = np.concatenate([mean, edge.std(2), step], axis=1)
        appearance.colour[block] = cells.mean(2)
        appearance.small[block] = halve @ reduced.mean(1) @ halve.T
        return len(pixels)

    with (
        Progress(total=n, desc="Checking photos", unit="photo", delay=1.5, disable=not progress) as bar,
        ThreadPoolExecutor(cores()) as pool,
    ):
        for count in pool.map(work, range(0, n, _BLOCK)):
            bar.update(count)
    return appearance


def _averaging(pixels: int, cells: int) -> Floats:
    """Matrix [cells, pixels] that averages a line of pixels over equal cells, a pixel on a boundary in proportion."""
    edges = np.arange(pixels + 1) * cells / pixels
    cell = np.arange(cells)[:, None]
    covered = np.minimum(edges[1:], cell + 1) - np.maximum(edges[:-1], cell)
    averaging: Floats = np.clip(covered, 0, None).astype(np.float32)
    return averaging
