"""A lock on a folder that is released when its process ends, however it ends."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from qc_lightning.core.errors import UserError


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a run's folder while the block runs; the system unlocks it when the process dies.

    Raises:
        UserError: another process trains in it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        for attempt in range(5):  # `is_held` locks the folder for a moment
            if _lock(handle, exclusive=True):
                break
            if attempt == 4:
                raise UserError(f"{folder} is still being trained by another process: wait for its end or stop it")
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


@contextmanager
def in_turn(place: Path) -> Iterator[None]:
    """Wait until no other process is in a block with this folder, or with this lock file, which is created and kept.

    Does not wait if the system has no locks or the file cannot be created.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            import fcntl

            handle = os.open(place, os.O_RDONLY if place.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_held(folder: Path) -> bool:
    """Whether a living process trains in a run's folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(handle, exclusive=False)
    finally:
        os.close(handle)


def _lock(handle: int, exclusive: bool) -> bool:
    """Lock the folder; False if another process holds it, True also if the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
