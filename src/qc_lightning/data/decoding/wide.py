"""Images of more than 8 bits: scale their significant range to [0, 255], rounded only after the resize."""

import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from qc_lightning.data.decoding.bands import Bands
from qc_lightning.data.decoding.image_file import BadImage, check_size, file_bytes, open_header

_BITS, _PHOTOMETRIC, _PLANAR = 0x0102, 0x0106, 0x011C  # tags of TIFF
_WHITE = 255
_SAMPLED = 16  # photos
_COLOUR = ("RGB", "RGBA", "RGBX", "CMYK", "LA")


def layout_of(image: ImageFile.ImageFile) -> str:
    """How the file stores its pixels, in Pillow's words; known only until it is loaded."""
    if not image.tile:
        return ""
    args: Any = image.tile[0][3]
    return str(args[0] if isinstance(args, tuple) else args)


def is_wide_colour(image: ImageFile.ImageFile) -> bool:
    """Whether a file that is not loaded yet holds colour of 16 bits.

    Raises:
        BadImage: its colours are stored in planes, which Pillow mixes up.
    """
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode in _COLOUR and tags.get(_PLANAR) == 2 and max(tags.get(_BITS, (8,))) > 8:
        raise BadImage("16-bit colour in planes is not read: save it with interleaved pixels")
    return image.format in ("PNG", "TIFF") and image.mode in _COLOUR and "16" in layout_of(image)


def bits_of(image: ImageFile.ImageFile, bit_depth: int) -> int:
    """Significant bits of a wide gray image that is not loaded yet."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return 16  # Pillow scales the others to the full range
    return 12 if layout_of(image) == "I;12" else bit_depth


def scale_gray(image: Image.Image, bits: int) -> Callable[[Image.Image], Image.Image]:
    """Return a function that scales a loaded image of mode I or F, or a part of it, to mode F with values in [0, 255].

    The function raises BadImage if a value is outside the range.
    """
    top = 1 if image.mode == "F" else 2**bits - 1
    scale = "for a float image" if image.mode == "F" else f"for {bits} bits (bit_depth)"
    # white is zero: Pillow inverts such TIFFs at 8 bits only
    inverted = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0
    transparent = image.info.get("transparency")

    def scaled(part: Image.Image) -> Image.Image:
        values = np.asarray(part)
        _check_range(values, top, scale)
        if inverted:
            values = top - values
        if isinstance(transparent, int):
            values = np.where(values == transparent, top, values)
        floats = values.astype(np.float32)
        floats *= np.float32(_WHITE / top)
        return Image.fromarray(floats)

    return scaled


def read_colour(data: bytes, page: int, bits: int) -> Bands:
    """Read a file with 16-bit colour as red, green and blue in mode F with values in [0, 255].

    Pillow keeps one byte of each value: the high one or, with the other byte order, the low one. The file is therefore
    decoded twice.

    Raises:
        BadImage: a value is outside the range of the bits, or the file has transparency or inks.
    """
    high, low = _bytes_of(data, page, False), _bytes_of(data, page, True)
    top = 2**bits - 1

    def colours(first: int, last: int) -> list[Image.Image]:
        values = (high[first:last].astype(np.uint16) << 8) | low[first:last]
        _check_range(values, top, f"for {bits} bits (bit_depth)")
        return [Image.fromarray(values[..., i].astype(np.float32) * np.float32(_WHITE / top)) for i in range(3)]

    return Bands((high.shape[1], high.shape[0]), colours)


def _bytes_of(data: bytes, page: int, low: bool) -> npt.NDArray[np.uint8]:
    """The high or the low bytes of the values, uint8 [H, W, 3]."""
    image = open_header(io.BytesIO(data))
    image.seek(page)
    if image.mode != "RGB":
        raise BadImage(f"16-bit colour of the kind {image.mode} is read with bit_depth 16 only")
    if low:
        image.tile = [ImageFile._Tile(*tile[:3], _other_order(tile[3])) for tile in image.tile]
    image.load()
    return np.asarray(image)


def _other_order(args: Any) -> Any:
    name = args if isinstance(args, str) else args[0]
    order = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    name = re.sub("[BLN]$", lambda end: order[end[0]], name)
    return name if isinstance(args, str) else (name, *args[1:])


def _check_range(values: npt.NDArray[Any], top: int, scale: str) -> None:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # true for NaN too
        advice = "; save it as 8 or 16 bits" if top == 1 or high > 65535 else ""
        raise BadImage(f"values from {low:g} to {high:g}, expected 0 to {top} {scale}{advice}")


def bit_depth_note(paths: Sequence[Path], bit_depth: int) -> list[str]:
    """A warning if 16-bit files seem to use fewer bits, so that their photos would be nearly black.

    Args:
        paths: the photos; up to 16 of them, evenly spaced, are inspected.
        bit_depth: the setting; only 16, the default, can be wrong without an error.
    """
    if bit_depth < 16 or not paths:
        return []
    highest = [top for path in paths[:: -(-len(paths) // _SAMPLED)] if (top := _highest(path))]
    bits = max(9, int(max(highest, default=65535)).bit_length())
    if bits > 14:
        return []
    return [
        f"no value above {max(highest)} of 65535 in {len(highest)} photos of 16 bits that were looked at: they seem to "
        f"hold {bits} bits and become nearly black; if the camera has {bits}, set data.bit_depth={bits}."
    ]


def _highest(path: Path) -> int:
    """The highest value of a file with 16 bits; 0 for others."""
    try:
        data = file_bytes(path)
        image = open_header(io.BytesIO(data))
        check_size(image)
        if is_wide_colour(image):
            return int(_bytes_of(data, 0, False).max()) << 8 | 255
        if not (image.mode.startswith("I") and image.format in ("PNG", "TIFF")) or layout_of(image) == "I;12":
            return 0
        image.load()
        return int(np.asarray(image).max())
    except Exception:  # it is reported as a bad file
        return 0
