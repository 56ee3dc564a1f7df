"""Geometry of decoding: orientation, target size and padding."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from qc_lightning.data.decoding.decode_settings import DecodeSettings

_ORIENTATION = 0x0112  # tag of EXIF and TIFF
WHOLE = (0.0, 0.0, 1.0, 1.0)  # left, top, right and bottom, in shares of the photo
_PADDING = 128  # around a letterboxed photo: mid grey, so that its border is not a strong edge

# EXIF orientation -> rows and columns swapped?, then the step through the rows and through the columns
_TURNS = {2: (0, 1, -1), 3: (0, -1, -1), 4: (0, -1, 1), 5: (1, 1, 1), 6: (1, 1, -1), 7: (1, -1, -1), 8: (1, -1, 1)}


def raw_box(
    roi: tuple[float, float, float, float], orientation: int, extent: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The box of a region of the upright photo in the photo as stored in its file.

    Args:
        roi: left, top, right and bottom, in shares of the upright photo.
        orientation: result of `orientation_of`.
        extent: width and height of the stored photo, in pixels.

    Returns:
        Left, top, right and bottom in pixels.

    >>> raw_box((0.1, 0.2, 0.5, 0.6), 6, (100, 200))  # orientation 6: to be turned clockwise by a quarter
    (20.0, 100.0, 60.0, 180.0)
    """
    left, top, right, bottom = roi
    swap, row_step, column_step = _TURNS.get(orientation, (0, 1, 1))
    if row_step < 0:
        top, bottom = 1 - bottom, 1 - top
    if column_step < 0:
        left, right = 1 - right, 1 - left
    if swap:
        left, top, right, bottom = top, left, bottom, right
    width, height = extent
    return left * width, top * height, right * width, bottom * height


def whole_pixels(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Round a box to whole pixels, at least one wide and high, without leaving it on the right or below.

    >>> whole_pixels((9.6, 0.2, 10.0, 3.6))
    (9, 0, 10, 4)
    """
    left, top = min(round(box[0]), math.ceil(box[2]) - 1), min(round(box[1]), math.ceil(box[3]) - 1)
    return left, top, max(round(box[2]), left + 1), max(round(box[3]), top + 1)


def region(roi: tuple[float, float, float, float] | None, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the region of interest in an upright photo of this height and width, at least one of each.

    >>> region((0.1, 0.2, 0.5, 0.6), (100, 200))
    (slice(20, 60, None), slice(20, 100, None))
    """
    left, top, right, bottom = whole_pixels(raw_box(roi or WHOLE, 1, (shape[1], shape[0])))
    return slice(top, bottom), slice(left, right)


def surrounded(kept: npt.NDArray[np.uint8], roi: tuple[float, float, float, float] | None) -> npt.NDArray[np.uint8]:
    """Extend a map of the region of interest, [height, width], to the complete photo: 0 outside the region.

    >>> surrounded(np.ones((2, 2), np.uint8), (0.5, 0.0, 1.0, 0.5)).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    left, top, right, bottom = roi or WHOLE
    shape = round(kept.shape[0] / (bottom - top)), round(kept.shape[1] / (right - left))
    photo = np.zeros(shape, np.uint8)
    first_row, first_column = round(top * shape[0]), round(left * shape[1])
    inside = photo[first_row : first_row + kept.shape[0], first_column : first_column + kept.shape[1]]
    inside[:] = kept[: inside.shape[0], : inside.shape[1]]
    return photo


def fit_size(size: tuple[float, float], orientation: int, settings: DecodeSettings) -> tuple[int, int]:
    """Width and height that a photo of this size gets before it is turned by its orientation."""
    _, high, wide = settings.shape
    if orientation in _TURNS and _TURNS[orientation][0]:  # lies on its side
        high, wide = wide, high
    width, height = size
    if settings.resize == "squash":
        return wide, high
    if width * high >= height * wide:
        return wide, max(1, round(height * wide / width))
    return max(1, round(width * high / height)), high


def lies_on_its_side(image: Image.Image) -> bool:
    """Whether its orientation swaps height and width."""
    return bool(_TURNS.get(orientation_of(image), (0,))[0])


def orientation_of(image: Image.Image) -> int:
    """The orientation that EXIF (or XMP) names, 1 where there is none."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # unreadable EXIF in a good photo: not rotated, as in other viewers
        return 1


def upright(planes: list[Image.Image], orientation: int) -> npt.NDArray[np.uint8]:
    """Pixels [1 or 3, height, width] of one image or of three colours, turned by the orientation."""
    arrays = [np.rint(np.asarray(one)).astype(np.uint8) if one.mode == "F" else np.asarray(one) for one in planes]
    pixels = np.stack(arrays) if arrays[0].ndim == 2 else arrays[0].transpose(2, 0, 1)
    if orientation in _TURNS:
        swap, row_step, column_step = _TURNS[orientation]
        pixels = (pixels.swapaxes(1, 2) if swap else pixels)[:, ::row_step, ::column_step]
    return pixels


def finish(small: list[Image.Image], orientation: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Turn the small photo by its orientation and pad it to the shape."""
    pixels = upright(small, orientation)
    _, height, width = pixels.shape
    canvas = np.full(shape, _PADDING, np.uint8)
    top, left = (shape[1] - height) // 2, (shape[2] - width) // 2
    canvas[:, top : top + height, left : left + width] = pixels
    return canvas
