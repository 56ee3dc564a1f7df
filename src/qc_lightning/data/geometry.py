"""Where the pixels of a photo go: its orientation, the size that it gets, the padding beside it."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from qc_lightning.data.decode_settings import DecodeSettings

_ORIENTATION = 0x0112  # tag of EXIF and TIFF
_PADDING = 128  # beside a letterboxed photo: mid grey, so that its border is no black-and-white edge

# EXIF orientation -> rows and columns swapped?, then the step through the rows and through the columns
_TURNS = {2: (0, 1, -1), 3: (0, -1, -1), 4: (0, -1, 1), 5: (1, 1, 1), 6: (1, 1, -1), 7: (1, -1, -1), 8: (1, -1, 1)}


def fit_size(size: tuple[int, int], orientation: int, settings: DecodeSettings) -> tuple[int, int]:
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
    except Exception:  # unreadable EXIF in a good photo: other viewers show it unturned, so do we
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
