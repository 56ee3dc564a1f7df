"""A cache file under construction, written block by block, so that an interrupted run can continue it.

A journal next to the pixels has a JSON line per block: the checksum of all pixels up to its end, the digests of its
photos and the reasons for bad ones. A block whose line is missing or does not match the pixels is decoded again.
"""

import json
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from qc_lightning.core.atomic import UNFINISHED, try_lock
from qc_lightning.core.errors import UserError


class UnfinishedPixels:
    """The pixels decoded so far.

    Args:
        pixels: open for reading and writing.
        journal: open for reading and writing.
        row_bytes: bytes of the pixels of one photo.

    Attributes:
        sha256: digest of each decoded photo, hex.
        bad: reason for each bad photo, by index.
        checksum: CRC-32 of the pixels.
    """

    def __init__(self, pixels: BinaryIO, journal: BinaryIO, row_bytes: int) -> None:
        self.sha256: list[str] = []
        self.bad: dict[int, str] = {}
        self.checksum = 0
        self._pixels, self._journal = pixels, journal
        end = 0
        for line in journal:
            try:
                entry = json.loads(line)
                block = pixels.read(len(entry["sha256"]) * row_bytes)
                checksum = zlib.crc32(block, self.checksum)
                if not line.endswith(b"\n") or checksum != entry["crc32"]:
                    break
                self.bad |= {int(index): reason for index, reason in entry["bad"].items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            self.sha256 += entry["sha256"]
            self.checksum = checksum
            end += len(line)
        for file, length in ((pixels, len(self.sha256) * row_bytes), (journal, end)):
            file.seek(length)
            file.truncate()

    def append(self, block: npt.NDArray[np.uint8], sha256: list[str], bad: dict[int, str]) -> None:
        """Append photos: first the pixels, then their journal entries."""
        self.checksum = zlib.crc32(block.data, self.checksum)
        _write(self._pixels, block.data)
        entry = {"crc32": self.checksum, "sha256": sha256, "bad": bad}
        _write(self._journal, memoryview(json.dumps(entry).encode() + b"\n"))
        self.sha256 += sha256
        self.bad |= bad

    def end(self, data: bytes) -> None:
        """Write the trailer after the pixels."""
        _write(self._pixels, memoryview(data))


@contextmanager
def unfinished(target: Path, row_bytes: int) -> Iterator[UnfinishedPixels]:
    """Open an unfinished cache file to complete it; it is renamed when the block succeeds.

    After an interruption it is kept for the next call, after an error it is removed. Two processes that build the same
    file have an unfinished file each.

    Args:
        target: the file; its folder exists.
        row_bytes: bytes of the pixels of one photo.
    """
    place = target.with_name(f"{UNFINISHED}{target.name}")
    pixels = _open(place)
    if not try_lock(pixels.fileno()) or not _is_at(pixels, place):
        pixels.close()
        place = target.with_name(f"{UNFINISHED}{uuid.uuid4().hex}{target.suffix}")
        pixels = _open(place)
        try_lock(pixels.fileno())
    journal_path = place.with_suffix(".journal")
    try:
        with pixels, _open(journal_path) as journal:
            try_lock(journal.fileno())
            yield UnfinishedPixels(pixels, journal, row_bytes)
            place.replace(target)
        journal_path.unlink(missing_ok=True)
    except (OSError, UserError):
        for file in (place, journal_path):
            file.unlink(missing_ok=True)
        raise


def forget(target: Path) -> None:
    """Remove the journal of a complete file, which a process that was killed at its very end has left."""
    with suppress(OSError):  # a cache that may only be read
        target.with_name(f"{UNFINISHED}{target.name}").with_suffix(".journal").unlink(missing_ok=True)


def _open(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", buffering=0)


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the file still has its name: another process may have completed or removed it before it was locked."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write(file: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]
