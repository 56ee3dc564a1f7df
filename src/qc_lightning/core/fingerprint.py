"""Detect changed files: the bytes decide, the stamp is a hint that needs no reading."""

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

_BLOCK = 1 << 20  # bytes read at a time
_SAMPLE = 4096  # bytes


class Stamp(NamedTuple):
    """Facts of the file system about a file. Equal stamps mean the same bytes; with unequal ones the bytes decide.

    Size and time of change alone do not tell files apart: cameras write photos of one size within one tick of the
    clock, and copying tools set the time as they like. The inode changes when another file takes the name, its time
    (ctime) whenever the file is written, and nobody can set it.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def from_stat(cls, info: os.stat_result) -> "Stamp":
        """The stamp from a result of os.stat or os.fstat."""
        return cls(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file, None if it is missing or inaccessible."""
    try:
        return Stamp.from_stat(path.stat())
    except OSError:
        return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hex; empty if it cannot be read or is not a regular file."""
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could wait for ever
            return ""
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def sample_of(path: Path) -> bytes:
    """A digest of the first, middle and last 4 KB of a file: where stamps deceive (network file systems that make up
    inodes and round times), photos of one size still differ there. Empty when it cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return b""
    digest = hashlib.sha256()
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            return b""
        for place in (0, info.st_size // 2, max(0, info.st_size - _SAMPLE)):
            os.lseek(handle, place, os.SEEK_SET)
            digest.update(os.read(handle, _SAMPLE))
    except OSError:
        return b""
    finally:
        os.close(handle)
    return digest.digest()
