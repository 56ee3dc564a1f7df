"""Image files with known pixels, made for tests."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

from qc_lightning.data.decoding.decode import DecodeSettings

EIGHT = DecodeSettings(8, 8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gray(values: object, dtype: object = np.uint8) -> Image.Image:
    """8 x 8 image whose eight columns have these values."""
    return Image.fromarray(np.tile(np.asarray(values, dtype), (8, 1)))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by its specification, for kinds that Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def photo(width: int, height: int) -> Image.Image:
    """A smooth colour photo."""
    coarse = np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def drawing(width: int, height: int) -> Image.Image:
    """Text and thin lines: the sharpest possible edges."""
    rng = np.random.default_rng(2)
    image = Image.new("RGB", (width, height), (235, 235, 230))
    draw = ImageDraw.Draw(image)
    for row in range(0, height, 26):
        draw.text((row % 90, row), "Part 4711-XQ defect HEIGHT 0123456789 MWIL " * (width // 250), fill=(15, 15, 20))
    for _ in range(40):
        ends = [(int(rng.integers(width)), int(rng.integers(height))) for _ in range(2)]
        draw.line(ends, fill=tuple(int(c) for c in rng.integers(0, 256, 3)), width=int(rng.integers(1, 10)))
    return image


def checkerboard(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    white = ((x // 37 + y // 29) % 2 * 255).astype(np.uint8)
    return Image.fromarray(np.stack([white, 255 - white, white], -1))
