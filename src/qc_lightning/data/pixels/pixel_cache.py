"""Cache files of decoded pixels: layout, writing, checking, reading and eviction.

One file holds the pixels as they are, then a JSON text (SHA-256 or fault of each photo, checksum of the pixels), then a
tail with that text's length and checksum. One file and no sidecar: it is renamed into place whole, and its parts can't
come from different builds; a build that was interrupted is continued by the next. Its name is the key: a hash over the
decode settings, Pillow's version and each photo's absolute path, stamp (inode, size, times) and a sample of its bytes;
docs/reliability.md says why and what that costs.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import struct
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import PIL

from qc_lightning.core.atomic import remove_abandoned
from qc_lightning.core.errors import UserError
from qc_lightning.core.fingerprint import sample_of, stamp_of
from qc_lightning.core.system import cores
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.pixels.unfinished_pixels import forget, unfinished

Pixels = npt.NDArray[np.uint8]
Outcome = tuple[list[str], dict[int, str]]
"""SHA-256 of each file (empty for a bad one), and the reason for each bad one by its index."""

Keep = Callable[[Pixels, list[str], dict[int, str]], object]
"""Receives the next rows, the SHA-256 of each file, and the reasons for bad ones by their index among all photos."""

_log = logging.getLogger(__name__)

PIXELS, FEATURES = "[!.]*.pixels", "*/[!.]*.npz"
"""Glob patterns of the two kinds of cache files below their folders, without unfinished ones."""

_FORMAT = 3  # increase whenever decode() gives other pixels or the file layout changes
_TAIL = struct.Struct("<QI8s")  # length and CRC-32 of the JSON text, magic
_MAGIC = b"QCPIXELS"
_BLOCK = 4 << 20  # bytes read at a time
_AT_A_TIME = 1024  # photos whose stamps are asked for at once


class StoredPixels:
    """The pixels of a cache file, read on demand.

    Read and not mapped: a mapped file that another process cuts off kills this one (SIGBUS), and mapped pages count as
    this process's memory. What was read lately stays in the system's file cache, so a row costs a copy.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, int, int]) -> None:
        self._handle, self._shape = os.dup(file.fileno()), shape
        weakref.finalize(self, os.close, self._handle)
        self._path, self._lock = file.name, threading.Lock()

    def gather(self, indices: npt.NDArray[np.intp]) -> Pixels:
        """A new array of some rows, uint8 [len(indices), 3, H, W].

        Raises:
            UserError: the file was cut off since it was checked.
        """
        out = np.empty((len(indices), *self._shape), np.uint8)
        for row, index in zip(out.reshape(len(indices), math.prod(self._shape)), indices.tolist(), strict=True):
            self._read(row, index * row.nbytes)
        return out

    def _read(self, row: Pixels, place: int) -> None:
        buffer, read = row.data, 0
        while read < row.nbytes:
            if hasattr(os, "preadv"):
                count = os.preadv(self._handle, [buffer[read:]], place + read)
            else:  # Windows: one place in the file for all threads
                with self._lock:
                    os.lseek(self._handle, place + read, os.SEEK_SET)
                    data = os.read(self._handle, row.nbytes - read)
                    buffer[read : read + len(data)], count = data, len(data)
            if count == 0:
                raise UserError(
                    f"{self._path} was cut off while it was in use: start again, the photos are decoded again"
                )
            read += count


def open_or_build(
    paths: Sequence[Path],
    settings: DecodeSettings,
    cache_dir: Path,
    limit_bytes: int,
    decode_all: Callable[[Keep, int], object],
    key: str | None = None,
    cameras: Sequence[str] = (),
) -> tuple[Outcome, StoredPixels]:
    """Open the cached pixels of these photos, or decode them into the cache.

    Args:
        paths: absolute paths.
        settings: how they are decoded.
        cache_dir: made when missing.
        limit_bytes: size of all cache files together; the least recently used are removed to make room.
        decode_all: called with a function and a number: decodes the photos from that number on, and passes each block
            to the function, in order.
        key: result of `key_of`, if already computed.
        cameras: as for `key_of`.

    Raises:
        OSError: the pixels don't fit, or the folder can't be written. Nothing is left behind.
        UserError: A photo has changed while the photos were decoded.
    """
    row_bytes = math.prod(settings.shape)
    needed = len(paths) * row_bytes
    key = key or key_of(paths, settings, cameras)
    target = cache_dir / f"{key}.pixels"
    if cached := _load(target, key, len(paths), settings.shape):
        forget(target)
        return cached
    if needed > limit_bytes:
        raise OSError(f"{needed / 1e9:.1f} GB needed, the limit is {limit_bytes / 1e9:.1f} GB")
    cache_dir.mkdir(parents=True, exist_ok=True)
    with unfinished(target, row_bytes) as part:
        remove_abandoned(cache_dir)
        _make_room(cache_dir, limit_bytes - needed)
        missing = needed - len(part.sha256) * row_bytes
        if missing > (free := shutil.disk_usage(cache_dir).free):
            raise OSError(f"{missing / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free in {cache_dir}")
        decode_all(part.append, len(part.sha256))
        if key_of(paths, settings, cameras) != key:
            raise UserError("photos have changed while they were decoded: start again when nothing writes to them")
        text = json.dumps({"key": key, "crc32": part.checksum, "sha256": part.sha256, "bad": part.bad}).encode()
        part.end(text + _TAIL.pack(len(text), zlib.crc32(text), _MAGIC))
    if cached := _load(target, key, len(paths), settings.shape):
        return cached
    raise OSError(f"{target} can't be read back")


def size_of(cache_dir: Path, pattern: str = PIXELS) -> int:
    """Total size in bytes of the files of one kind."""
    return sum(size for _, size, _ in _stamped(cache_dir, pattern))


def clear(cache_dir: Path, pattern: str = PIXELS) -> int:
    """Remove all files of one kind and leftovers of killed processes; returns the bytes freed."""
    folders = [cache_dir, *(folder for folder in cache_dir.glob("*") if folder.is_dir())]
    return sum(map(remove_abandoned, folders)) + _make_room(cache_dir, 0, pattern)


def key_of(paths: Sequence[Path], settings: DecodeSettings, cameras: Sequence[str] = ()) -> str:
    """The cache key: what decoded pixels depend on, as SHA-256 in hex.

    That is the settings, Pillow, and each file's path, stamp and a sample of its bytes.

    Args:
        paths: of the files.
        settings: of decoding.
        cameras: of each file, where the settings have a region for each camera.
    """
    shared = tuple(value for name, value in vars(settings).items() if name != "cameras")
    digest = hashlib.sha256(repr((_FORMAT, PIL.__version__, shared)).encode())
    if settings.cameras:
        digest.update(repr((settings.cameras, list(cameras))).encode())
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(paths), _AT_A_TIME):
            some = paths[start : start + _AT_A_TIME]
            for path, stamp, sample in zip(some, pool.map(stamp_of, some), pool.map(sample_of, some), strict=True):
                digest.update(os.fsencode(path) + b"\0" + repr(stamp and tuple(stamp)).encode() + b"\0" + sample)
    return digest.hexdigest()


def _load(target: Path, key: str, count: int, shape: tuple[int, int, int]) -> tuple[Outcome, StoredPixels] | None:
    """Open a cache file after verifying every byte; None if it is missing or damaged."""
    pixel_bytes = count * math.prod(shape)
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
            content = json.loads(text)
            if content["key"] != key or len(content["sha256"]) != count:
                raise ValueError("it is of other photos")
            if _checksum(file, pixel_bytes) != content["crc32"]:
                raise ValueError("its pixels do not match their checksum")
        except (ValueError, KeyError, TypeError, struct.error) as error:
            _log.warning("cached pixels in %s are damaged (%s): decoding the photos again", target, error)
            return None
        pixels = StoredPixels(file, shape)
    with suppress(OSError):  # a read-only cache is sufficient
        os.utime(target)  # used just now: the last to be removed
    return (content["sha256"], {int(index): reason for index, reason in content["bad"].items()}), pixels


def _checksum(file: BinaryIO, length: int) -> int:
    """CRC-32 of the first `length` bytes."""
    buffer = memoryview(bytearray(_BLOCK))
    file.seek(0)
    checksum = 0
    while length > 0 and (count := file.readinto(buffer[: min(_BLOCK, length)])):  # type: ignore[attr-defined]
        checksum = zlib.crc32(buffer[:count], checksum)
        length -= count
    return checksum


def _make_room(cache_dir: Path, limit_bytes: int, pattern: str = PIXELS) -> int:
    """Evict the least recently used files until the rest is within the limit; returns the bytes freed."""
    files = sorted(_stamped(cache_dir, pattern))
    excess = sum(size for _, size, _ in files) - limit_bytes
    freed = 0
    for _, size, file in files:
        if freed >= excess:
            break
        freed += _remove(file, size)
    return freed


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
