"""Detect incomplete image files that libraries decode without an error.

An interrupted transfer leaves a file of the right size that ends in zeros, or a file that was terminated early.
Decoders fill the missing part with grey, black or the last colour, and a photo of half a part looks like a good part.
"""

import io
import math
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from qc_lightning.data.decoding.image_file import BadImage

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # end of the coded data of a JPEG
_ZEROS = 128  # zero bytes: coded data does not end in this many by chance
_COLUMNS, _ROWS = 16, 256  # positions at which a row is probed; rows checked together
_GREY = 128  # grey that libjpeg gives blocks without data
_FURTHER = bytes(range(0, 255, 5)) * 4  # arbitrary bits
_COMPRESSION, _TIFF_JPEG = 0x0103, (6, 7)  # tag of TIFF, and its values for JPEG
_STRIPS = ((0x0111, 0x0117), (0x0144, 0x0145))  # tags of TIFF: offsets and lengths of strips or tiles
_TABLES = 0x015B  # tag of TIFF: shared tables of its JPEGs, as a JPEG
_END, _EOI = 16, b"\xff\xd9"  # bytes; a JPEG ends in a marker
_MARK = (1, 254, 77, 138)  # colour of its pixels before decoding


def check_coded(data: bytes, image: ImageFile.ImageFile) -> None:
    """Check the coded data of a PNG, JPEG or WebP before it is decoded; raises BadImage.

    A PNG must have correct checksums (Pillow skips some). A JPEG must have all scans and its end marker, and decoding
    must need that marker for the last rows only. A WebP's data and JPEGs in a TIFF must not end in zeros.
    """
    if image.format == "PNG":
        _check_png(data)
    elif image.format in ("JPEG", "MPO"):
        end, block_height = _end_of_jpeg(data)
        if block_height:
            image.fp = _Probe(data, end, image, block_height)
    elif image.format == "WEBP" and len(data) > 4 * _ZEROS and not data[-_ZEROS:].strip(b"\0"):
        raise BadImage("truncated: its rest is zeros")
    elif isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_COMPRESSION) in _TIFF_JPEG:
        if not bytes(image.tag_v2.get(_TABLES, _EOI)).rstrip(b"\0").endswith(_EOI):
            raise BadImage("truncated: its tables are cut off")
        for places, lengths in _STRIPS:
            for place, length in zip(image.tag_v2.get(places, ()), image.tag_v2.get(lengths, ()), strict=False):
                if length > _END and not data[place + length - _END : place + length].strip(b"\0"):
                    raise BadImage("truncated: its rest is zeros")


def check_pixels(data: bytes, image: Image.Image) -> None:
    """Check the end of a JPEG and of an uncompressed file (BMP, TIFF, PPM) after decoding; raises BadImage."""
    if image.format in ("JPEG", "MPO") and isinstance(image, JpegImagePlugin.JpegImageFile) and data:
        _check_last_rows(data, image)
    elif data and image.format in ("BMP", "TIFF", "PPM") and not data[-_ZEROS:].strip(b"\0"):
        _check_raw(image)


def _check_last_rows(data: bytes, image: JpegImagePlugin.JpegImageFile) -> None:
    """Detect a JPEG that was cut within its last two rows of blocks and then terminated.

    Blocks without data are decoded as grey. If the last one is grey, the photo is decoded again with further bits after
    its data: a complete photo does not use them, an incomplete one changes.
    """
    corner = image.getpixel((image.width - 1, image.height - 1))
    if image.mode not in ("L", "RGB") or {corner} - {_GREY, (_GREY,) * 3}:
        return
    end, block_height = _end_of_jpeg(data)
    if not block_height:
        return
    longer = JpegImagePlugin.JpegImageFile(io.BytesIO(data[:end] + _FURTHER + b"\xff\xd9"))
    scale = image.decoderconfig[0] if image.decoderconfig else 1
    longer.draft(None, (longer.width // scale, longer.height // scale))
    below = (0, max(0, image.height - 4 * block_height), image.width, image.height)
    if longer.size == image.size and longer.crop(below).tobytes() != image.crop(below).tobytes():
        raise BadImage("truncated: its data ends before the photo does")


def _check_raw(image: Image.Image) -> None:
    """Detect a file that ends in zeros.

    Zeros are black pixels, with which a photo may end. But a black area of a photo does not start in the middle of a
    row directly below a row without any: that is where writing stopped.
    """
    last = next((row for row in _in_order(image) if _filled(image, row).any()), None)  # the last one with anything
    if last is None:
        return
    end_of_file, before = (0, last + 1) if image.format == "BMP" else (image.height - 1, last - 1)
    if last == end_of_file:
        return
    filled = _filled(image, last)
    width, end = image.width, int(np.flatnonzero(filled)[-1]) + 1
    if not 0 <= before < image.height or not 0.02 * width < end < 0.98 * width:
        return
    if filled[:end].mean() > 0.9 and _filled(image, before)[end:].mean() > 0.9:
        raise BadImage("truncated: its rest is zeros")


def _in_order(image: Image.Image) -> Iterator[int]:
    """The rows of an uncompressed file from the one that is written last, a BMP's from the bottom up; black ones are
    looked for many at a time.
    """
    height = image.height
    starts = range(0, height, _ROWS) if image.format == "BMP" else range((height - 1) // _ROWS * _ROWS, -1, -_ROWS)
    for start in starts:
        some = range(start, min(height, start + _ROWS))
        if np.asarray(image.crop((0, some[0], image.width, some[-1] + 1))).any():
            yield from some if image.format == "BMP" else reversed(some)


def _filled(image: Image.Image, row: int) -> npt.NDArray[np.bool_]:
    """Which pixels of a row are not black, bool [W]."""
    values = np.asarray(image.crop((0, row, image.width, row + 1)))[0]
    lit: npt.NDArray[np.bool_] = values.reshape(len(values), -1).any(1)
    return lit


def _check_png(data: bytes) -> None:
    place = 8
    while place + 12 <= len(data):
        length, name = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        end = place + 8 + length
        if end + 4 > len(data):
            break
        if name == b"IEND":
            return
        if name == b"IDAT" and zlib.crc32(memoryview(data)[place + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise BadImage("damaged: the checksum of its pixels is wrong")
        place = end + 4
    raise BadImage("truncated: it has no end")


def _end_of_jpeg(data: bytes) -> tuple[int, int]:
    """Where the end marker (EOI) of the photo is, and the rows of a block; 0 when it has several scans.

    Raises:
        BadImage: there is no end marker, or scans are missing.
    """
    place, progressive, components, block_height, scans = 2, False, 0, 8, 0
    refined = set[tuple[int, int]]()
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            place += 1
            continue
        code = data[place + 1]
        if code == 0xFF or code == 0x01 or 0xD0 <= code <= 0xD8:
            place += 1 if code == 0xFF else 2
            continue
        if code == 0xD9:
            break
        length = int.from_bytes(data[place + 2 : place + 4])
        body = data[place + 4 : place + 2 + length]
        place += 2 + length
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC) and len(body) > 5:
            progressive, components = code in (0xC2, 0xC6, 0xCA, 0xCE), body[5]
            block_height = 8 * max((sampling & 15 for sampling in body[7::3]), default=1)
        if code == 0xDA and body:
            scans += 1
            if progressive and len(body) >= 4 and body[-1] & 15 == 0:  # this scan holds the last bits
                ids = body[1 : 1 + 2 * body[0] : 2]
                refined |= {(one, band) for one in ids for band in range(body[-3], min(body[-2], 63) + 1)}
            marker = _MARKER.search(data, place)
            if marker is None:
                raise BadImage("truncated: it has no end")
            place = marker.start()
    if data[place : place + 2] != b"\xff\xd9":
        raise BadImage("truncated: it has no end")
    if progressive and len(refined) < 64 * components:
        raise BadImage("truncated: scans are missing")
    return place, block_height if scans == 1 and not progressive else 0


class _Probe(io.BytesIO):
    """The file of a JPEG that notices whether decoding needs the end marker too early.

    Shown data that ends before its frame is full, libjpeg waits; shown the end marker, it makes up the rest. All that
    it may still need at the marker of a good photo are the last two rows of blocks, since it looks some bits ahead.
    """

    def __init__(self, data: bytes, end: int, image: ImageFile.ImageFile, block_height: int) -> None:
        super().__init__(data)
        self._end, self._image, self._rows, self._row = end, image, block_height, -1

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to the end marker first; only who has used all of that gets the marker."""
        place = self.tell()
        if self._row < 0:
            self._mark()
        if place < self._end and size is not None and size > 0:
            return super().read(min(size, self._end - place))
        if place == self._end and self._row > 0 and self._is_marked():
            raise BadImage("truncated: its data ends before the photo does")
        return super().read(size)

    def _mark(self) -> None:
        """Colour a row that has to be decoded before the end, at the scale that the photo is decoded at."""
        image = self._image
        scale = image.decoderconfig[0] if image.decoderconfig else 1
        blocks = max(1, image.size[0] * scale // 16)  # a few bits can encode several rows of a narrow photo
        self._row = max(0, image.size[1] - 1 - math.ceil((2 + 8 // blocks) * self._rows / scale))
        for x in self._columns():
            image.im.putpixel((x, self._row), self._colour())

    def _is_marked(self) -> bool:
        return all(self._image.im.getpixel((x, self._row)) == self._colour() for x in self._columns())

    def _columns(self) -> list[int]:
        return [x * self._image.size[0] // _COLUMNS for x in range(_COLUMNS)]

    def _colour(self) -> Any:
        return _MARK[0] if self._image.im.bands == 1 else _MARK[: self._image.im.bands]
