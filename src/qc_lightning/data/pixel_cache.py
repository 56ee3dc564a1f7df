"""Decoded pixels in a file: its layout, how it is written, checked, mapped, and removed.

One file holds the pixels as they are, then a JSON text (SHA-256 or fault of each photo, checksum of the pixels), then a
tail with that text's length and checksum. One file and no sidecar: it is renamed into place whole, and its parts can't
come from different builds. Its name is the key: a hash over the decode settings, Pillow's version and each photo's
absolute path, size and modification time.
"""

import hashlib
import json
import logging
import math
import mmap
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import PIL

from qc_lightning.data.decode import DecodeSettings

Pixels = npt.NDArray[np.uint8]
Outcome = tuple[list[str], dict[int, str]]
"""SHA-256 of each file (empty for a bad one), and the reason for each bad one by its index."""

_log = logging.getLogger(__name__)

PIXELS, FEATURES = "*.pixels", "*/[!.]*.npz"
"""The files of the two kinds of cache below their folders, those aside that are still being written."""

_FORMAT = 1  # raise it whenever decode() gives other pixels or this file's layout changes
_TAIL = struct.Struct("<QI8s")  # length and CRC-32 of the JSON text, magic
_MAGIC = b"QCPIXELS"
_BLOCK = 4 << 20  # bytes read at a time
_RESIDENT = 64 << 20  # bytes taken from the map before its pages are given back
_ABANDONED = 600  # seconds without a write after which an unfinished file is nobody's


class MappedPixels:
    """The pixels of a cache file, mapped into memory."""

    def __init__(self, file: BinaryIO, rows: int, shape: tuple[int, int, int]) -> None:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._pixels = np.frombuffer(self._map, np.uint8, rows * math.prod(shape)).reshape(rows, *shape)
        self._taken = 0

    def gather(self, indices: npt.NDArray[np.intp]) -> Pixels:
        """A new array of some rows, uint8 [len(indices), 3, H, W]."""
        out = self._pixels.take(indices, axis=0)
        self._taken += out.nbytes
        if self._taken > _RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            # Mapped pages count as this process's memory once they are read. Given back, they stay in the system's file
            # cache, so it costs little to take them again, and resident memory stays flat however large the file is.
            self._map.madvise(mmap.MADV_DONTNEED)
            self._taken = 0
        return out


def open_or_build(
    paths: Sequence[Path],
    settings: DecodeSettings,
    cache_dir: Path,
    limit_bytes: int,
    decode_all: Callable[[Callable[[int, Pixels], object]], Outcome],
) -> tuple[Outcome, MappedPixels]:
    """Find the pixels of these photos in the cache, or decode them into it.

    Args:
        paths: Absolute paths.
        settings: How they are decoded.
        cache_dir: Made when missing.
        limit_bytes: Size of all cache files together; the least recently used are removed to make room.
        decode_all: Decodes the photos; hands each block of rows, in order, to the function that it is given.

    Raises:
        OSError: The pixels don't fit, or the folder can't be written. Nothing is left behind.
    """
    needed = len(paths) * math.prod(settings.shape)
    key = key_of(paths, settings)
    target = cache_dir / f"{key}.pixels"
    if found := _load(target, key, len(paths), settings.shape):
        return found
    if needed > limit_bytes:
        raise OSError(f"{needed / 1e9:.1f} GB needed, the limit is {limit_bytes / 1e9:.1f} GB")
    cache_dir.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(cache_dir)
    _make_room(cache_dir, limit_bytes - needed)
    if needed > (free := shutil.disk_usage(cache_dir).free):
        raise OSError(f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free in {cache_dir}")
    part = cache_dir / f"{key}.{os.getpid()}-{time.monotonic_ns()}.part"  # two processes may be at it
    try:
        with part.open("xb") as file:
            checksum = 0

            def append(_: int, block: Pixels) -> None:
                nonlocal checksum
                checksum = zlib.crc32(block.data, checksum)
                file.write(block.data)  # written, not mapped: mapped pages would count as resident memory

            sha256, bad = decode_all(append)
            text = json.dumps({"key": key, "crc32": checksum, "sha256": sha256, "bad": bad}).encode()
            file.write(text + _TAIL.pack(len(text), zlib.crc32(text), _MAGIC))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    if found := _load(target, key, len(paths), settings.shape):
        return found
    raise OSError(f"{target} can't be read back")


def size_of(cache_dir: Path, pattern: str = PIXELS) -> int:
    """Bytes that the files of one kind take."""
    return sum(size for _, size, _ in _stamped(cache_dir, pattern))


def clear(cache_dir: Path, pattern: str = PIXELS) -> int:
    """Remove all files of one kind, but none that is being written right now; gives the bytes freed."""
    return _remove_abandoned(cache_dir) + _make_room(cache_dir, 0, pattern)


def key_of(paths: Sequence[Path], settings: DecodeSettings) -> str:
    """What decoded pixels depend on: the settings, Pillow, and each file's path, size and modification time."""
    digest = hashlib.sha256(repr((_FORMAT, PIL.__version__, astuple(settings))).encode())
    for path in paths:
        try:
            info = path.stat()
            stamp = b"%d %d" % (info.st_size, info.st_mtime_ns)
        except OSError:
            stamp = b"missing"
        digest.update(os.fsencode(path) + b"\0" + stamp + b"\0")
    return digest.hexdigest()


def _load(target: Path, key: str, rows: int, shape: tuple[int, int, int]) -> tuple[Outcome, MappedPixels] | None:
    """Open a cache file after checking every byte of it; None when there is none or it is damaged."""
    pixel_bytes = rows * math.prod(shape)
    try:
        file = target.open("rb")
    except FileNotFoundError:
        return None
    with file:
        try:
            file.seek(pixel_bytes)
            rest = file.read()
            length, checksum, magic = _TAIL.unpack(rest[-_TAIL.size :])
            text = rest[: -_TAIL.size]
            if (len(text), zlib.crc32(text), magic) != (length, checksum, _MAGIC):
                raise ValueError("its list of photos does not match its checksum")
            found = json.loads(text)
            if found["key"] != key or len(found["sha256"]) != rows:
                raise ValueError("it is of other photos")
            if _checksum(file, pixel_bytes) != found["crc32"]:
                raise ValueError("its pixels do not match their checksum")
        except (ValueError, KeyError, TypeError, struct.error) as error:
            _log.warning("cached pixels in %s are damaged (%s): decoding the photos again", target, error)
            return None
        mapped = MappedPixels(file, rows, shape)
    with suppress(OSError):  # a cache that may only be read is good enough
        os.utime(target)  # used just now: the last to be removed
    return (found["sha256"], {int(index): reason for index, reason in found["bad"].items()}), mapped


def _checksum(file: BinaryIO, length: int) -> int:
    """CRC-32 of the first `length` bytes; read, not mapped, as mapped pages would count as resident memory."""
    buffer = memoryview(bytearray(_BLOCK))
    file.seek(0)
    checksum = 0
    while length > 0 and (count := file.readinto(buffer[: min(_BLOCK, length)])):  # type: ignore[attr-defined]
        checksum = zlib.crc32(buffer[:count], checksum)
        length -= count
    return checksum


def _make_room(cache_dir: Path, limit_bytes: int, pattern: str = PIXELS) -> int:
    """Remove the least recently used files until the rest is within the limit; gives the bytes freed."""
    files = sorted(_stamped(cache_dir, pattern))
    excess = sum(size for _, size, _ in files) - limit_bytes
    freed = 0
    for _, size, file in files:
        if freed >= excess:
            break
        freed += _remove(file, size)
    return freed


def _remove_abandoned(cache_dir: Path) -> int:
    """Remove what killed processes left; a process at work writes to its file every few seconds."""
    now = time.time()
    return sum(_remove(file, size) for used, size, file in _stamped(cache_dir, "*.part") if now - used > _ABANDONED)


def _stamped(cache_dir: Path, pattern: str) -> Iterator[tuple[float, int, Path]]:
    """Time of last use, size and path of files; other processes may remove them meanwhile."""
    for file in cache_dir.glob(pattern):
        with suppress(FileNotFoundError):
            info = file.stat()
            yield info.st_mtime, info.st_size, file


def _remove(file: Path, size: int) -> int:
    try:
        file.unlink()
    except OSError:  # already gone, or on Windows in use
        return 0
    return size
