"""The one place that opens an image file: file in, uint8 RGB pixels of one size out (numpy and Pillow only).

What becomes of each kind of file:

- 8-bit gray and RGB as they are; palette, CMYK, YCbCr, Lab and 1-bit as Pillow converts them; no colour profiles.
- Transparency is laid on white, as most viewers show it: the person who sorted the photos saw them so.
- 16-bit gray is scaled by its real range, 2**bit_depth - 1, and float gray from [0, 1]; a value outside is an error,
  not clipped. PGM and JPEG 2000 name their range in the file, 12-bit TIFF too: there bit_depth does not matter.
- 16-bit colour keeps its high byte, the most that Pillow reads: so it needs bit_depth 16.
- EXIF (or XMP) orientation is applied. Of a file with several frames the first one counts.

The whole photo is resized, nothing is cut off, with antialiasing and Pillow's bilinear filter: the one that
torchvision's pretrained weights expect, and without the halo that bicubic draws beside an edge.

JPEGs are decoded at 1/2, 1/4 or 1/8 scale when that leaves at least twice the output size: 1.7 to 7 times faster at
12 megapixels. Measured against full decode and the same resize on synthetic 12-megapixel JPEGs (smooth, small text,
checkerboard, zone plate, clipping noise), in levels of 255: at 64 px at most 7 and on average 0.3; from 128 to 512 px
at most 14 and on average 2.5, the most where just twice the output is left. A box filter would differ by up to 65. The
like for other formats (`reducing_gap`) is not used: a tenth of a large PNG's time for up to 25 levels.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, TiffImagePlugin

from qc_lightning.data.decode_settings import DecodeSettings
from qc_lightning.data.geometry import finish, fit_size, orientation_of, upright
from qc_lightning.data.image_file import (
    IMAGE_SUFFIXES,
    BadImage,
    check_ending,
    check_size,
    file_bytes,
    open_image,
    reason_of,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "BadImage",
    "DecodeSettings",
    "decode",
    "decode_bytes",
    "decode_image",
    "decode_whole",
    "read",
]

_PHOTOMETRIC = 0x0106  # tag of TIFF
_WHITE = 255  # under transparency


def decode(path: Path, settings: DecodeSettings) -> npt.NDArray[np.uint8]:
    """Decode a file to uint8 RGB of `settings.shape`, values 0 to 255; raises BadImage."""
    return read(path, settings)[0]


def read(path: Path, settings: DecodeSettings) -> tuple[npt.NDArray[np.uint8], str]:
    """Decode a file and give its SHA-256 (hex) too, from one reading of it; raises BadImage, which has it as well."""
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
        data: The whole file.
        settings: Output size, resize and bit depth.

    Returns:
        uint8 RGB of `settings.shape`, C-contiguous, values 0 to 255.

    Raises:
        BadImage: Empty, truncated, damaged or no image; more than MAX_PIXELS pixels; values outside the bit depth.
    """
    return _decoded(*open_image(data, settings), settings)


def decode_image(image: Image.Image, settings: DecodeSettings) -> npt.NDArray[np.uint8]:
    """Decode an image that is in memory already; the image stays as it is.

    Args:
        image: of any size and mode; a wide gray one has the bit depth of the settings.
        settings: Output size, resize and bit depth.

    Returns:
        uint8 RGB of `settings.shape`, values 0 to 255.

    Raises:
        BadImage: more than MAX_PIXELS pixels, or values outside the bit depth.
    """
    check_size(image)
    return _decoded(image, settings.bit_depth, settings)


def _decoded(image: Image.Image, bits: int, settings: DecodeSettings) -> npt.NDArray[np.uint8]:
    drafted = None
    try:
        if isinstance(image, JpegImagePlugin.JpegImageFile):  # of others, asking for the orientation loads the pixels
            fit = fit_size(image, settings)
            drafted = image.draft(None, (2 * fit[0], 2 * fit[1]))
        image.load()
        plain = _plain(image, bits)
    except BadImage:
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise BadImage(reason_of(error)) from error
    if drafted:
        small = plain.resize(fit, Image.Resampling.BILINEAR, box=drafted[1])
    else:  # by the size it has now: some versions of Pillow turn a TIFF as they load it
        small = plain.resize(fit_size(plain, settings), Image.Resampling.BILINEAR)
    return finish(small, orientation_of(image), settings.shape)


def decode_whole(path: Path, settings: DecodeSettings, longest: int) -> npt.NDArray[np.uint8]:
    """Decode a file as people look at it: its own aspect, upright, at most `longest` pixels along its longer side.

    Returns:
        uint8 RGB [height, width, 3].

    Raises:
        BadImage: as for `decode_bytes`.
    """
    image, bits = open_image(file_bytes(path), settings)
    try:
        image.load()
        plain = _plain(image, bits)
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(reason_of(error)) from error
    plain.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    pixels = upright(plain, orientation_of(image)).transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _plain(image: Image.Image, bits: int) -> Image.Image:
    """Gray or RGB of 8 bits, or for wide gray mode F with values in [0, 255], rounded only after the resize."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _as_float(image, bits)
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        opaque = Image.new("RGB", image.size, (_WHITE, _WHITE, _WHITE))
        opaque.paste(colour, mask=colour.getchannel("A"))
        return opaque
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _as_float(image: Image.Image, bits: int) -> Image.Image:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    top = 1 if image.mode == "F" else 2**bits - 1
    if not (low >= 0 and high <= top):  # true for NaN too
        scale = "for a float image" if image.mode == "F" else f"for {bits} bits (bit_depth)"
        raise BadImage(f"values from {low:g} to {high:g}, expected 0 to {top} {scale}")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:
        values = top - values  # white is zero: Pillow inverts such TIFFs at 8 bits only
    if isinstance(transparent := image.info.get("transparency"), int):
        values = np.where(values == transparent, top, values)
    return Image.fromarray(values.astype(np.float32) * np.float32(_WHITE / top))
