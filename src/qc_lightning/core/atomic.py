"""Write files atomically: a file appears complete or not at all."""

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import RECORD, read_text

UNFINISHED = ".unfinished-"  # without the file's own name, which may already have the maximum length
"""What the names of unfinished files begin with."""

_ABANDONED = 24 * 3600  # seconds without a write after which a file counts as abandoned, if there are no locks
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EROFS)  # a file system without it
_looked_through: set[Path] = set()  # folders whose abandoned files this process has removed


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and rename it to `path` if the block succeeds.

    Unfinished files of killed processes in the folder are removed.

    Args:
        path: the file to write or replace; its folder is made when missing.
        durable: the contents reach the disk before the name does, so a power cut leaves the old file or the new one.
            That waits for the disk, some 15 ms; false for copies and caches, which can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent not in _looked_through:
        _looked_through.add(path.parent)
        remove_abandoned(path.parent)
    temporary, handle = _claim(partial(_new_file, path))
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    except OSError as error:
        # the error of a full disk has no file name, and the temporary name would not help
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        _close(handle)


@contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder below `parent`: the block fills it and renames it, or it is removed.

    So a folder appears complete or not at all. What killed processes left in `parent` is removed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    temporary, handle = _claim(lambda: Path(tempfile.mkdtemp(dir=parent, prefix=UNFINISHED)))
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        _sync(parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _close(handle)


def remove_abandoned(folder: Path) -> int:
    """Remove the unfinished files and folders of killed processes from a folder; returns the bytes of the files."""
    freed = 0
    for path in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            info, handle = path.stat(), _open(path)
            try:  # under the lock, so that whoever has just made it sees that it is gone
                if (handle is None or not try_lock(handle)) and time.time() - info.st_mtime < _ABANDONED:
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                    freed += info.st_size
            finally:
                _close(handle)
    return freed


def _new_file(path: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED, suffix=path.suffix[-40:])
    os.close(handle)
    return Path(name)


def _claim(make: Callable[[], Path]) -> tuple[Path, int | None]:
    """Make an unfinished file or folder and lock it: its path, and the handle that holds the lock.

    It is made again if another process took it for abandoned before it was locked.
    """
    while True:
        path = make()
        handle = _open(path)
        if handle is not None:
            try_lock(handle, wait=True)
        if path.exists():
            return path, handle
        _close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; a non-finite number is refused, never written as NaN."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def try_lock(handle: int, wait: bool = False) -> bool:
    """Lock an open file until it is closed; False if another process has it or locks are unsupported.

    Args:
        handle: of the file or folder.
        wait: until no other process has it.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


def _open(path: Path) -> int | None:
    """A handle of a file or folder; None where it may not be opened, as folders on Windows and write-only files."""
    try:
        return os.open(path, os.O_RDONLY)
    except (PermissionError, FileNotFoundError):
        return None


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _sync(path: Path) -> None:
    """Flush a file's contents, or a folder's names, to disk."""
    handle = _open(path)
    try:
        if handle is not None:
            os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:  # a disk can turn out full only now
            raise
    finally:
        _close(handle)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file cannot be read or is damaged.
    """
    try:
        content = json.loads(read_text(path, RECORD))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged ({reason}): restore it or make it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (expected an object): restore it or make it again")
    return content


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
