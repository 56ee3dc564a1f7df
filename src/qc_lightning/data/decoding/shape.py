"""Choose the shape that photos are decoded to: their own aspect at a given number of pixels."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from qc_lightning.config.data import Roi
from qc_lightning.core.system import cores
from qc_lightning.data.decoding.geometry import WHOLE, lies_on_its_side
from qc_lightning.data.decoding.image_file import BadImage, open_header

_STEP = 16  # pixels: sides are multiples of it, as the maps of most networks are a 16th of a photo wide
_SQUARE = 1.05  # photos within this factor of a square count as square
_ALIKE = 1.5  # a photo whose aspect is farther from the median one by this factor is squeezed a lot
_LOOKED_AT = 1000  # photos of a set, evenly spaced: enough for a median


def photo_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a photo, upright, read from the file's header; None if that cannot be read."""
    try:
        with path.open("rb") as file:
            image = open_header(file)
            # other formats would load all their pixels to look for an orientation
            turned = image.format in ("JPEG", "MPO", "TIFF", "WEBP") and lies_on_its_side(image)
            width, height = image.size
    except (OSError, BadImage):
        return None
    return (width, height) if turned else (height, width)


def common_shape(
    paths: Sequence[Path], side: int, grid: tuple[int, int], rois: Sequence[Roi | None] = ()
) -> tuple[int, int, list[str]]:
    """Height and width of a tile, in pixels, that keep the shape of most photos at side * side pixels per tile.

    Args:
        paths: the photos; up to 1,000 of them are inspected, evenly spaced.
        side: of a square with as many pixels.
        grid: rows and columns of tiles that a photo is cut into.
        rois: the region of interest of each photo, None for the complete photo; empty: all are complete.

    Returns:
        The height, the width, and notes on photos whose shape differs.
    """
    step = -(-len(paths) // _LOOKED_AT) or 1
    kept = [roi or WHOLE for roi in (rois or [None] * len(paths))[::step]]
    with ThreadPoolExecutor(cores()) as pool:
        sizes = [
            (size[0] * (bottom - top), size[1] * (right - left))
            for size, (left, top, right, bottom) in zip(pool.map(photo_size, paths[::step]), kept, strict=True)
            if size is not None
        ]
    if not sizes:
        return side, side, []
    aspects = np.array([height / width for height, width in sizes])
    median = float(np.median(aspects))
    height, width = shape_of(median * grid[1] / grid[0], side)
    far = int((np.maximum(aspects / median, median / aspects) > _ALIKE).sum())
    if not far:
        return height, width, []
    note = (
        f"{far} of {len(sizes)} photos looked at have another shape than most (height / width {median:.2f}, "
        f"from {aspects.min():.2f} to {aspects.max():.2f}): they are squeezed by more than a factor of {_ALIKE}."
    )
    return height, width, [note]


def shape_of(aspect: float, side: int) -> tuple[int, int]:
    """Height and width of about side * side pixels at an aspect (height / width), multiples of 16.

    >>> shape_of(1.0, 300), shape_of(1.04, 300), shape_of(0.25, 300), shape_of(2.5, 300)
    ((300, 300), (300, 300), (144, 608), (480, 192))
    """
    if 1 / _SQUARE <= aspect <= _SQUARE:
        return side, side
    root = math.sqrt(min(max(aspect, 1 / 16), 16.0))
    height, width = (max(_STEP, _STEP * round(length / _STEP)) for length in (side * root, side / root))
    return height, width
