"""Decode image files to uint8 RGB pixels of one size; the only module that opens them (numpy and Pillow only).

Treatment by kind of file:

- 8-bit gray and RGB are unchanged; palette, CMYK, YCbCr, Lab and 1-bit are converted by Pillow; no colour profiles.
- Transparency is composited on white, as in most viewers, so the network sees what the person saw who sorted the
  photos. An alpha channel that is 0 everywhere is unused and ignored.
- 16-bit gray is scaled by its significant range, 2**bit_depth - 1, and float gray from [0, 1]; a value outside is an
  error, not clipped. PGM, JPEG 2000 and 12-bit TIFF store their range in the file, so bit_depth is ignored.
- 16-bit colour is read like 16-bit gray with a bit_depth below 16; with 16 it keeps its high byte.
- EXIF (or XMP) orientation is applied. Files with several frames or pages are refused, except thumbnails in a TIFF.
- An incomplete file is refused, even if the libraries would fill in the missing pixels.

The complete photo, or its region of interest, is resized without cropping, by Pillow's bilinear filter with
antialiasing: the filter that torchvision's pretrained weights expect, without bicubic's halo along edges.

JPEGs are decoded at 1/2, 1/4 or 1/8 scale if that leaves at least twice the output size: 1.7 to 7 times faster at
12 megapixels. Measured against full decode and the same resize on synthetic 12-megapixel JPEGs (smooth, small text,
checkerboard, zone plate, clipping noise), in levels of 255: at 64 px at most 7 and on average 0.3; from 128 to 512 px
at most 14 and on average 2.5, the most if exactly twice the output is left. A box filter would differ by up to 65.
The equivalent for other formats (`reducing_gap`) is not used: it saves a tenth of a large PNG's time for up to 25
levels.
"""

import hashlib
import io
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin

from qc_lightning.data.decoding.bands import Bands
from qc_lightning.data.decoding.completeness import check_coded, check_pixels
from qc_lightning.data.decoding.decode_settings import DecodeSettings
from qc_lightning.data.decoding.geometry import WHOLE, finish, fit_size, orientation_of, raw_box, upright, whole_pixels
from qc_lightning.data.decoding.image_file import (
    IMAGE_SUFFIXES,
    BadImage,
    check_ending,
    check_size,
    file_bytes,
    open_header,
    reason_of,
)
from qc_lightning.data.decoding.mask import masked
from qc_lightning.data.decoding.pages import choose_page
from qc_lightning.data.decoding.wide import bits_of, is_wide_colour, read_colour, scale_gray

__all__ = [
    "IMAGE_SUFFIXES",
    "BadImage",
    "DecodeSettings",
    "decode",
    "decode_bytes",
    "decode_image",
    "decode_whole",
    "read",
    "scaled",
    "unscaled",
]

if TYPE_CHECKING:
    from torch import Tensor

_WHITE = 255  # under transparency
_LARGE = 40_000_000  # pixels
_large = threading.Lock()


def decode(path: Path, settings: DecodeSettings) -> npt.NDArray[np.uint8]:
    """Decode a file to uint8 RGB of `settings.shape`, values 0 to 255; raises BadImage."""
    return read(path, settings)[0]


def read(path: Path, settings: DecodeSettings) -> tuple[npt.NDArray[np.uint8], str]:
    """Decode a file and return its SHA-256 (hex) from the same read; raises BadImage, which has the digest too."""
    data = file_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        check_ending(path)
        return decode_bytes(data, settings), sha256
    except BadImage as error:
        error.sha256 = sha256
        raise


def decode_bytes(data: bytes, settings: DecodeSettings) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file.

    Args:
        data: the complete file.
        settings: output size, resize and bit depth.

    Returns:
        uint8 RGB of `settings.shape`, C-contiguous, values 0 to 255.

    Raises:
        BadImage: empty, truncated, damaged or not an image; more than `settings.max_pixels` pixels; values outside the
            bit depth.
    """
    if not data:
        raise BadImage("empty file")
    image = open_header(io.BytesIO(data))
    check_size(image, settings.max_pixels)
    with _one_large_at_a_time(image):
        return _decoded(image, data, settings)


def decode_image(image: Image.Image, settings: DecodeSettings) -> npt.NDArray[np.uint8]:
    """Decode an image in memory without changing it.

    Args:
        image: of any size and mode; a wide gray one has the bit depth of the settings.
        settings: output size, resize and bit depth.

    Returns:
        uint8 RGB of `settings.shape`, values 0 to 255.

    Raises:
        BadImage: more than `settings.max_pixels` pixels, or values outside the bit depth.
    """
    check_size(image, settings.max_pixels)
    return _decoded(image, b"", settings)


def _decoded(image: Image.Image, data: bytes, settings: DecodeSettings) -> npt.NDArray[np.uint8]:
    settings = settings.at("")  # refuses settings whose region depends on a camera that nobody has named
    try:
        photo, orientation, box = _loaded(image, data, settings, draft=True)
        # by its size after loading: some versions of Pillow rotate a TIFF while loading it
        if settings.roi is not None:  # cropped first, since resizing a region would read pixels beyond its border
            part = raw_box(settings.roi, orientation, photo.size if box is None else box[2:])
            photo, box = photo.cropped(whole_pixels(part)), None
        small = photo.resized(fit_size(photo.size, orientation, settings), box)
    except BadImage:
        raise
    except Exception as error:  # Pillow raises many kinds of errors on damaged files
        raise BadImage(reason_of(error)) from error
    pixels = finish(small, orientation, settings.shape)
    return pixels if settings.mask is None else masked(pixels, settings.mask)


def _loaded(
    image: Image.Image, data: bytes, settings: DecodeSettings, draft: bool
) -> tuple[Bands, int, tuple[float, float, float, float] | None]:
    """Load an image: its pixels, its orientation and its region of interest."""
    box = None
    bits = settings.bit_depth
    if isinstance(image, ImageFile.ImageFile) and data:
        choose_page(image)
        check_size(image, settings.max_pixels)
        if is_wide_colour(image) and bits < 16:
            return read_colour(data, image.tell(), bits), orientation_of(image), None
        bits = bits_of(image, bits)
        if draft and isinstance(image, JpegImagePlugin.JpegImageFile):
            left, top, right, bottom = raw_box(settings.roi or WHOLE, orientation_of(image), image.size)
            wide, high = fit_size((right - left, bottom - top), orientation_of(image), settings)
            twice = 2 * wide * image.width / (right - left), 2 * high * image.height / (bottom - top)
            drafted = image.draft(None, (math.ceil(twice[0]), math.ceil(twice[1])))
            box = drafted[1] if drafted else None
        check_coded(data, image)
    image.load()
    check_pixels(data, image)
    return Bands(image.size, _plain(image, bits)), orientation_of(image), box


@contextmanager
def _one_large_at_a_time(image: Image.Image) -> Iterator[None]:
    """Decode large photos one at a time for any number of threads, since each takes 4 bytes per pixel."""
    if math.prod(image.size) < _LARGE:
        yield
    else:
        with _large:
            yield


def decode_whole(path: Path, settings: DecodeSettings, longest: int) -> npt.NDArray[np.uint8]:
    """Decode a file for display: own aspect, upright, at most `longest` pixels along its longer side.

    Returns:
        uint8 RGB [height, width, 3].

    Raises:
        BadImage: as for `decode_bytes`.
    """
    data = file_bytes(path)
    if not data:
        raise BadImage("empty file")
    image = open_header(io.BytesIO(data))
    check_size(image, settings.max_pixels)
    with _one_large_at_a_time(image):
        try:
            photo, orientation, _ = _loaded(image, data, settings, draft=False)
            scale = min(1.0, longest / max(photo.size))
            width, height = (max(1, round(side * scale)) for side in photo.size)
            small = photo.resized((width, height))
        except BadImage:
            raise
        except Exception as error:
            raise BadImage(reason_of(error)) from error
    pixels = upright(small, orientation).transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def scaled(pixels: "Tensor") -> "Tensor":
    """Scale decoded photos, uint8 of 0 to 255, to the networks' input: float32 in [0, 1] of the same shape."""
    return pixels / 255  # of uint8: float32 in one pass


def unscaled(image: "Tensor") -> "Tensor":
    """Undo `scaled`: floats, clipped to [0, 1], to uint8 of the same shape."""
    return (image.clamp(0, 1) * 255).round().byte()


def _plain(image: Image.Image, bits: int) -> Callable[[int, int], list[Image.Image]]:
    """Convert a loaded image band by band to 8-bit gray or RGB, or wide gray to mode F with values in [0, 255]."""
    wide = scale_gray(image, bits) if image.mode == "F" or image.mode.startswith("I") else None
    # fully transparent: an unused channel
    unused = "A" in image.mode and image.getchannel("A").getextrema()[1] == 0

    def convert(top: int, bottom: int) -> list[Image.Image]:
        band = image if bottom - top == image.height else image.crop((0, top, image.width, bottom))
        if wide is not None:
            return [wide(band)]
        if not image.has_transparency_data:
            return [band if band.mode in ("L", "RGB") else band.convert("RGB")]
        colour = band.convert("RGBA")
        if unused:
            return [colour.convert("RGB")]
        opaque = Image.new("RGB", band.size, (_WHITE, _WHITE, _WHITE))
        opaque.paste(colour, mask=colour.getchannel("A"))
        return [opaque]

    return convert
