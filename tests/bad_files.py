"""Broken image files: good photos of every kind, cut, zeroed, closed, flipped, spliced or with false headers."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

Options = dict[str, Any]

KINDS: dict[str, tuple[str, str, Options]] = {
    "jpeg": ("", "JPEG", {}),
    "jpeg progressive": ("", "JPEG", {"progressive": True}),
    "jpeg restart": ("", "JPEG", {"restart_marker_rows": 1}),
    "jpeg cmyk": ("CMYK", "JPEG", {}),
    "jpeg turned": ("", "JPEG", {"exif": True}),
    "png": ("", "PNG", {}),
    "png stored": ("", "PNG", {"compress_level": 0}),
    "png alpha": ("RGBA", "PNG", {}),
    "png palette": ("P", "PNG", {}),
    "png 16 bits": ("I;16", "PNG", {}),
    "png 1 bit": ("1", "PNG", {}),
    "bmp": ("", "BMP", {}),
    "tiff": ("", "TIFF", {}),
    "tiff lzw": ("", "TIFF", {"compression": "tiff_lzw"}),
    "tiff deflate": ("", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
    "tiff 16 bits": ("I;16", "TIFF", {}),
    "tiff float": ("F", "TIFF", {}),
    "tiff pages": ("", "TIFF", {"save_all": True}),
    "webp": ("", "WEBP", {}),
    "webp lossless": ("RGBA", "WEBP", {"lossless": True}),
    "gif": ("", "GIF", {}),
    "ppm": ("", "PPM", {}),
    "pgm 16 bits": ("I;16", "PPM", {}),
    "jpeg 2000": ("", "JPEG2000", {}),
}
PLAIN = ("jpeg", "jpeg progressive", "jpeg restart", "png", "png stored", "bmp", "tiff", "tiff lzw", "webp", "ppm")
"""Kinds of 8 bits, of which no complete file may be refused."""


def photo(rng: np.random.Generator, most: int = 160) -> Image.Image:
    """A noisy scene without black, of a random size, in colour or gray."""
    width, height = (int(side) for side in rng.integers(16, most, 2))
    coarse = rng.integers(30, 220, (6, 6, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    noisy = np.clip(image + 5 * rng.standard_normal(image.shape), 1, 254).astype(np.uint8)
    return Image.fromarray(noisy if rng.random() < 0.7 else noisy[..., 0])


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert a photo to another mode; an empty mode leaves it unchanged."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.float32) / 255)
    return image.convert(mode) if mode else image


def good_file(rng: np.random.Generator, kind: str, most: int = 160) -> bytes:
    """A complete file of one kind, with sides below `most` pixels."""
    mode, name, options = KINDS[kind]
    image, options = in_mode(photo(rng, most), mode), dict(options)
    if options.get("exif"):
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = int(rng.integers(2, 9))
    if options.get("save_all"):
        options["append_images"] = [image.reduce(4)]
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def damaged(rng: np.random.Generator, data: bytes) -> tuple[str, bytes]:
    """What was done to a file, and the result."""
    ways = ("cut", "zero rest", "closed", "flip", "burst", "splice", "length", "trailer")
    how = ways[int(rng.integers(len(ways)))]
    place = int(rng.integers(1, len(data)))
    if how == "cut":
        return how, data[:place]
    if how == "zero rest":
        return how, data[:place] + bytes(len(data) - place)
    if how == "closed":
        return how, data[:place] + b"\xff\xd9"
    if how == "trailer":
        return how, data + rng.bytes(place)
    changed = bytearray(data)
    if how == "flip":
        for at in rng.integers(0, len(data), int(rng.integers(1, 9))):
            changed[int(at)] ^= 1 << int(rng.integers(8))
    elif how == "burst":
        length = int(rng.integers(1, 64))
        changed[place : place + length] = rng.bytes(length)
    elif how == "length":  # in the header, which holds sizes and counts
        at = int(rng.integers(0, min(len(data), 60)))
        changed[at : at + 4] = rng.bytes(4)
    else:
        other = int(rng.integers(1, len(data)))
        changed = bytearray(data[:place] + data[other:])
    return how, bytes(changed)


def stream(seed: int, most: int = 160, each: int = 1) -> Iterator[tuple[str, str, bytes]]:
    """Endless kind, damage and bytes; equal arguments give equal files.

    Args:
        seed: seed of the draws.
        most: upper limit of a side in pixels, exclusive.
        each: number of damaged files per good file.
    """
    rng = np.random.default_rng(seed)
    while True:
        kind = list(KINDS)[int(rng.integers(len(KINDS)))]
        whole = good_file(rng, kind, most)
        for _ in range(each):
            yield kind, *damaged(rng, whole)
