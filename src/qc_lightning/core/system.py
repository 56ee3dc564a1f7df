"""The machine: how many cores a process may use, what becomes of memory that was freed."""

import ctypes
import os

# of glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 << 20  # glibc takes no more here; larger blocks keep going straight to the system and back
_KEPT = 1 << 30


def keep_freed_memory() -> None:
    """Tell glibc to keep up to 1 GB that was freed; elsewhere than on Linux with glibc nothing happens.

    By default it hands the maps of a network back to the system layer by layer, and the next layer's memory is cleared
    page by page on first touch: a fifth of the time of a small network on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
    mallopt(_TRIM_THRESHOLD, _KEPT)


def cores() -> int:
    """Cores that the process is allowed, at least 1; all of the machine's where the system does not say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_number() -> int:
    """Which of the processes of one training this is, from 0: as Lightning, torchrun and srun number them."""
    return int(next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), 0))
