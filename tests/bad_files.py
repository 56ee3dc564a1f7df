"""Files as they come broken: good photos of every kind, cut, zeroed, closed, flipped, spliced and lied about."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": ("JPEG", {}),
    "jpeg progressive": ("JPEG", {"progressive": True}),
    "jpeg restart": ("JPEG", {"restart_marker_rows": 1}),
    "png": ("PNG", {}),
    "png stored": ("PNG", {"compress_level": 0}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "webp": ("WEBP", {}),
    "gif": ("GIF", {}),
    "ppm": ("PPM", {}),
    "jpeg 2000": ("JPEG2000", {}),
}


def photo(rng: np.random.Generator) -> Image.Image:
    """A noisy scene without black, of a random size, in colour, gray or 16 bits."""
    width, height = (int(side) for side in rng.integers(20, 160, 2))
    coarse = rng.integers(30, 220, (6, 6, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    noisy = np.clip(image + 5 * rng.standard_normal(image.shape), 1, 254).astype(np.uint8)
    return Image.fromarray(noisy if rng.random() < 0.7 else noisy[..., 0])


def good_file(rng: np.random.Generator, kind: str) -> bytes:
    """A whole file of one kind."""
    name, options = KINDS[kind]
    buffer = io.BytesIO()
    photo(rng).save(buffer, name, **options)
    return buffer.getvalue()


def broken_file(rng: np.random.Generator, data: bytes) -> tuple[str, bytes]:
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
    elif how == "length":  # in the header, where sizes and counts stand
        at = int(rng.integers(0, min(len(data), 60)))
        changed[at : at + 4] = rng.bytes(4)
    else:
        other = int(rng.integers(1, len(data)))
        changed = bytearray(data[:place] + data[other:])
    return how, bytes(changed)


def stream(seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Kind, damage and bytes, without an end; the same for the same seed."""
    rng = np.random.default_rng(seed)
    while True:
        kind = list(KINDS)[int(rng.integers(len(KINDS)))]
        yield kind, *broken_file(rng, good_file(rng, kind))
