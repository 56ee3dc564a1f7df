"""The machine: usable cores, reuse of freed memory, its user and its clock."""

import ctypes
import getpass
import os
from datetime import datetime

# of glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 << 20  # glibc's maximum; larger blocks are still returned to the system at once
_KEPT = 1 << 30


def keep_freed_memory() -> None:
    """Make glibc keep up to 1 GB of freed memory; does nothing on other systems.

    By default it returns the maps of a network to the system layer by layer, and the next layer's memory is cleared
    page by page on first touch: a fifth of the time of a small network on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
    mallopt(_TRIM_THRESHOLD, _KEPT)


def cores() -> int:
    """Cores that the process may use, at least 1; all of the machine's if the system does not say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_number() -> int:
    """Rank of this process in a distributed training, from 0, as Lightning, torchrun or srun set it."""
    return int(next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), 0))


def user() -> str:
    """The current user's account."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def now() -> str:
    """The current time, ISO 8601 to the second with the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
