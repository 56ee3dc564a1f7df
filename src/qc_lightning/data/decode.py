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
import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from qc_lightning.core.errors import UserError

_COMMON = ("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "bmp", "tif", "tiff")
_RARE = ("webp", "gif", "ppm", "pgm", "pbm", "pnm", "jp2", "j2k")
IMAGE_SUFFIXES = frozenset(f".{suffix}" for suffix in _COMMON + _RARE)
"""Lower-case suffixes of the files that `decode` can read."""

MAX_PIXELS = 178_956_970
"""Photos with more pixels are refused by their header, before any memory is taken: Pillow's own hard limit."""

MAX_BYTES = 2**31
"""Larger files are refused unread."""

# Only these readers are ever tried: Pillow's others include one that starts Ghostscript.
_READERS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    BmpImagePlugin.BmpImageFile,
    TiffImagePlugin.TiffImageFile,
    WebPImagePlugin.WebPImageFile,
    GifImagePlugin.GifImageFile,
    PpmImagePlugin.PpmImageFile,
    Jpeg2KImagePlugin.Jpeg2KImageFile,
)

_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106  # tags of EXIF and TIFF
_WHITE = 255  # under transparency
_PADDING = 128  # beside a letterboxed photo: mid grey, so that its border is no black-and-white edge

# EXIF orientation -> rows and columns swapped?, then the step through the rows and through the columns
_TURNS = {2: (0, 1, -1), 3: (0, -1, -1), 4: (0, -1, 1), 5: (1, 1, 1), 6: (1, 1, -1), 7: (1, -1, -1), 8: (1, -1, 1)}


class BadImage(Exception):
    """A file that can't be used as a photo; the message is the reason, one short phrase without the file's name."""


@dataclass(frozen=True)
class DecodeSettings:
    """How a file becomes pixels: plain values that go into cache keys and checkpoints.

    Attributes:
        image_size: Height and width of a tile of the output, in pixels, 8 to 2048.
        resize: `squash` fits the photo to the output; `letterbox` keeps its aspect and pads with mid grey (128).
        bit_depth: Real bits of 16-bit files, 9 to 16: 12 for a 12-bit camera.
        rows: Tiles from top to bottom, at least 1.
        columns: Tiles from left to right, at least 1.

    Raises:
        UserError: A value is out of its range.
    """

    image_size: int = 64
    resize: str = "squash"
    bit_depth: int = 16
    rows: int = 1
    columns: int = 1

    def __post_init__(self) -> None:
        if not 8 <= self.image_size <= 2048:
            raise UserError(f"image_size must be 8 to 2048 pixels, got {self.image_size}: choose one in that range")
        if self.resize not in ("squash", "letterbox"):
            raise UserError(f"resize must be squash or letterbox, got {self.resize!r}: choose one of the two")
        if not 9 <= self.bit_depth <= 16:
            raise UserError(f"bit_depth must be 9 to 16, got {self.bit_depth}: give the camera's real bits")
        if min(self.rows, self.columns) < 1:
            raise UserError(f"rows and columns must be at least 1, got {self.rows} x {self.columns}: give 1 or more")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a decoded photo: 3, height, width."""
        return 3, self.rows * self.image_size, self.columns * self.image_size


def decode(path: Path, settings: DecodeSettings) -> npt.NDArray[np.uint8]:
    """Decode a file to uint8 RGB of `settings.shape`, values 0 to 255; raises BadImage."""
    return decode_bytes(_file_bytes(path), settings)


def read(path: Path, settings: DecodeSettings) -> tuple[npt.NDArray[np.uint8], str]:
    """Decode a file and give its SHA-256 (hex) too, from one reading of it; raises BadImage."""
    data = _file_bytes(path)
    return decode_bytes(data, settings), hashlib.sha256(data).hexdigest()


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
    image, bits = _header(data, settings)
    drafted = None
    try:
        if isinstance(image, JpegImagePlugin.JpegImageFile):  # of others, asking for the orientation loads the pixels
            fit = _fit(image, settings)
            drafted = image.draft(None, (2 * fit[0], 2 * fit[1]))
        image.load()
        plain = _plain(image, bits)
    except BadImage:
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise BadImage(_reason(error)) from error
    if drafted:
        small = plain.resize(fit, Image.Resampling.BILINEAR, box=drafted[1])
    else:  # by the size it has now: some versions of Pillow turn a TIFF as they load it
        small = plain.resize(_fit(plain, settings), Image.Resampling.BILINEAR)
    return _finish(small, _orientation(image), settings.shape)


def decode_whole(path: Path, settings: DecodeSettings, longest: int) -> npt.NDArray[np.uint8]:
    """Decode a file as people look at it: its own aspect, upright, at most `longest` pixels along its longer side.

    Returns:
        uint8 RGB [height, width, 3].

    Raises:
        BadImage: as for `decode_bytes`.
    """
    image, bits = _header(_file_bytes(path), settings)
    try:
        image.load()
        plain = _plain(image, bits)
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(_reason(error)) from error
    plain.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    upright = _upright(plain, _orientation(image)).transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(upright, (*upright.shape[:2], 3)))


def _header(data: bytes, settings: DecodeSettings) -> tuple[ImageFile.ImageFile, int]:
    """The file opened, its pixels not read yet, and the real bits of a wide gray image."""
    image = _open(data)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImage(f"too large: {width} x {height} pixels, the limit is {MAX_PIXELS // 10**6} million")
    return image, _bits(image, settings)


def _file_bytes(path: Path) -> bytes:
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):  # reading a pipe could wait for ever
            raise BadImage("not a file")
        if info.st_size > MAX_BYTES:
            raise BadImage(f"file of {info.st_size / 2**30:.1f} GiB, the limit is {MAX_BYTES >> 30} GiB")
        return path.read_bytes()
    except OSError as error:
        raise BadImage((error.strerror or str(error)).lower()) from error


def _open(data: bytes) -> ImageFile.ImageFile:
    """Read the header. Not Image.open: that warns about large photos, and only a global setting would silence it."""
    if not data:
        raise BadImage("empty file")
    problem: Exception | None = None
    for reader, accepts in (Image.OPEN[plugin.format] for plugin in _READERS):
        try:
            if accepts is None or accepts(data[:16]) is True:
                return reader(io.BytesIO(data), "")
        except Exception as error:
            problem = error
    raise BadImage("not an image of a known format" if problem is None else _reason(problem)) from problem


def _fit(image: Image.Image, settings: DecodeSettings) -> tuple[int, int]:
    """Width and height that the photo gets before it is turned by its orientation."""
    _, high, wide = settings.shape
    if _TURNS.get(_orientation(image), (0,))[0]:  # lies on its side
        high, wide = wide, high
    width, height = image.size
    if settings.resize == "squash":
        return wide, high
    if width * high >= height * wide:
        return wide, max(1, round(height * wide / width))
    return max(1, round(width * high / height)), high


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = str(error).strip().partition("\n")[0]
    return "truncated" if "truncated" in text.lower() else f"damaged or truncated ({type(error).__name__}: {text})"


def _bits(image: ImageFile.ImageFile, settings: DecodeSettings) -> int:
    """Real bits of a wide gray image. Asked before loading: the raw layout is known only until then."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return 16  # Pillow scales the others to the full range
    args: Any = image.tile[0][3]
    layout = str(args[0] if isinstance(args, tuple) else args)
    if layout == "I;12":
        return 12
    if "16" in layout and image.mode in ("RGB", "RGBA", "RGBX", "CMYK", "LA") and settings.bit_depth < 16:
        raise BadImage(f"16-bit colour is read with bit_depth 16 only, not {settings.bit_depth}")
    return settings.bit_depth


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # unreadable EXIF in a good photo: other viewers show it unturned, so do we
        return 1


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


def _upright(image: Image.Image, orientation: int) -> npt.NDArray[np.uint8]:
    """Pixels [1 or 3, height, width], turned by the orientation."""
    pixels = np.rint(np.asarray(image)).astype(np.uint8) if image.mode == "F" else np.asarray(image, np.uint8)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if orientation in _TURNS:
        swap, row_step, column_step = _TURNS[orientation]
        pixels = (pixels.swapaxes(1, 2) if swap else pixels)[:, ::row_step, ::column_step]
    return pixels


def _finish(small: Image.Image, orientation: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Turn the small photo by its orientation and pad it to the shape."""
    pixels = _upright(small, orientation)
    _, height, width = pixels.shape
    canvas = np.full(shape, _PADDING, np.uint8)
    top, left = (shape[1] - height) // 2, (shape[2] - width) // 2
    canvas[:, top : top + height, left : left + width] = pixels
    return canvas
