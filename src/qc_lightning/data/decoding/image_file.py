"""Open image files: read their bytes, choose a reader, read the header."""

import os
import stat
from pathlib import Path, PurePath
from typing import BinaryIO

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

_COMMON = ("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "bmp", "tif", "tiff")
_RARE = ("webp", "gif", "ppm", "pgm", "pbm", "pnm", "jp2", "j2k")
IMAGE_SUFFIXES = frozenset(f".{suffix}" for suffix in _COMMON + _RARE)
"""Lower-case suffixes of the files that `decode` can read."""

MAX_PIXELS = 178_956_970
"""Photos with more pixels are refused by their header unless the settings allow more: Pillow's own hard limit."""

MAX_BYTES = 2**31
"""Larger files are refused unread."""

# Only these readers are allowed: one of Pillow's others starts Ghostscript.
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


class BadImage(Exception):
    """A file that can't be used as a photo; the message is the reason, one short phrase without the file's name.

    Attributes:
        sha256: of the file's bytes, hex; empty if they could not be read.
    """

    sha256: str = ""


def check_size(image: Image.Image, most: int = MAX_PIXELS) -> None:
    """Raise BadImage for an image of more than `most` pixels."""
    width, height = image.size
    if width * height > most:
        wanted = (
            f"set data.max_pixels={width * height}, or max_pixels= in a prediction"
            if min(width, height) < 2**17
            else ""
        )
        limit = f"too large: {width} x {height} pixels, the limit is {most // 10**6} million"
        raise BadImage(f"{limit}; to read it {wanted}" if wanted else limit)


def file_bytes(path: Path) -> bytes:
    """Read a regular file of at most MAX_BYTES; raises BadImage, also if the file changes meanwhile."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()  # says why if it cannot be read
            raise BadImage("a folder, not a photo")
        if not stat.S_ISREG(mode):  # reading a pipe may block forever, opening a device may have side effects
            raise BadImage("not a file")
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > MAX_BYTES:
                raise BadImage(f"file of {before.st_size / 2**30:.1f} GiB, the limit is {MAX_BYTES >> 30} GiB")
            data = file.read(before.st_size + 1)  # one more: some of /proc have no size and no end
            after = os.fstat(file.fileno())
    except OSError as error:
        raise BadImage((error.strerror or str(error)).lower()) from error
    if len(data) != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise BadImage("still being written")
    return data


def unread_ending(path: PurePath) -> str:
    """Why a file with this extension is not read; empty for extensions that are, and for a name without one.

    The name decides, in training and prediction alike: formats that only some builds of Pillow read (AVIF), or of which
    it reads only the preview (DNG), are refused by name.
    """
    suffix = path.suffix.lower()
    return f"ending {suffix} is not read: save it as JPEG or PNG" if suffix and suffix not in IMAGE_SUFFIXES else ""


def check_ending(path: PurePath) -> None:
    """Raise BadImage for a file whose extension is not read."""
    if reason := unread_ending(path):
        raise BadImage(reason)


def looks_like_image(path: Path) -> bool:
    """Whether a file begins like one of the formats that can be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    accepts = [Image.OPEN[reader.format][1] for reader in _READERS]
    try:
        return any(accept is not None and accept(start) is True for accept in accepts)
    except Exception:  # they expect more bytes than a tiny file has
        return False


def open_header(file: BinaryIO) -> ImageFile.ImageFile:
    """Read the header; raises BadImage.

    Not Image.open: that warns about large photos, and only a global setting would silence it.
    """
    start = file.read(16)
    problem: Exception | None = None
    for reader, accepts in (Image.OPEN[plugin.format] for plugin in _READERS):
        try:
            if accepts is None or accepts(start) is True:
                file.seek(0)
                return reader(file, "")
        except Exception as error:
            problem = error
    raise BadImage("not an image of a known format" if problem is None else reason_of(problem)) from problem


def reason_of(error: Exception) -> str:
    """An error of Pillow as one short phrase."""
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = str(error).strip().partition("\n")[0]
    return "truncated" if "truncated" in text.lower() else f"damaged or truncated ({type(error).__name__}: {text})"
