"""Decode photos once, in parallel, into an array of uint8 pixels; a batch is a slice of it."""

import logging
import math
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qc_lightning.core.bars import Progress
from qc_lightning.core.errors import UserError
from qc_lightning.core.system import cores
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode, read
from qc_lightning.data.pixels import pixel_cache as disk
from qc_lightning.data.pixels.pixel_cache import Keep, Outcome, Pixels

Block = tuple[Pixels, list[str], dict[int, str]]
"""Pixels of consecutive photos, SHA-256 of each file, and the reasons for bad ones by their index among all photos."""

_log = logging.getLogger(__name__)

_TASK_PHOTOS = 16  # photos per task: few enough to balance the load, enough to make queueing cheap
_TASK_BYTES = 4 << 20  # ... unless their pixels are more than this


class PixelStore:
    """Decoded photos in the order of their paths.

    Attributes:
        sha256: hex digest of each file; empty for a bad one.
        bad: index of each file that can't be used, with the reason. Drop these: `pixels` refuses them.
    """

    def __init__(self, outcome: Outcome, gather: Callable[[npt.NDArray[np.intp]], Pixels]) -> None:
        self.sha256, self.bad = outcome
        self._gather = gather
        self._is_bad = np.zeros(len(self.sha256), bool)
        self._is_bad[list(self.bad)] = True

    def __len__(self) -> int:
        return len(self.sha256)

    def pixels(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        """Pixels of photos in the requested order; repeats are allowed.

        Returns:
            A new array, uint8 RGB [len(indices), 3, H, W], values 0 to 255.

        Raises:
            IndexError: an index outside the store.
            ValueError: a bad photo is asked for.
            UserError: with `off`, a photo is not readable any more.
        """
        wanted = np.asarray(indices, np.intp)
        unusable = self._is_bad[wanted]
        if unusable.any():
            index = int(wanted[unusable][0]) % len(self)
            raise ValueError(f"photo {index} is bad and has no pixels: {self.bad[index]}")
        return self._gather(wanted)


def open_store(
    paths: Sequence[Path],
    settings: DecodeSettings,
    cache: str,
    cache_dir: Path,
    progress: bool = True,
    limit_bytes: int = 20 * 10**9,
    key: str | None = None,
    cameras: Sequence[str] = (),
) -> PixelStore:
    """Decode photos, or open their cached pixels.

    Args:
        paths: image files; any may turn out bad.
        settings: how to decode them.
        cache: `disk` keeps the pixels in a file in `cache_dir`, for the next run too; `ram` in memory, for this run;
            `off` nowhere: a first pass finds bad files and digests, and `pixels` decodes again each time. Where pixels
            do not fit, a warning is logged and the next of disk, ram, off is taken.
        cache_dir: made when missing; used by `disk` only.
        progress: show a bar when decoding takes longer than 1.5 s.
        limit_bytes: size of all files in `cache_dir` together; the least recently used are removed to make room.
        key: result of `key_of` for these photos, if already computed.
        cameras: the camera of each photo, if the settings have a region for each camera.

    Returns:
        The store, in the order of `paths`.
    """
    paths = [path.absolute() for path in paths]
    shape = (len(paths), *settings.shape)
    decoded_as = [settings.at(camera) for camera in cameras] if settings.cameras else [settings] * len(paths)
    decode_all = partial(_decode_all, paths, decoded_as, settings.shape, progress)
    if cache == "disk":
        try:
            outcome, stored = disk.open_or_build(paths, settings, cache_dir, limit_bytes, decode_all, key, cameras)
            return PixelStore(outcome, stored.gather)
        except OSError as error:
            _log.warning("no pixel cache on disk (%s): the photos are decoded for this run only", error)
            cache = "ram"
    needed, free = int(np.prod(shape, dtype=np.int64)), _free_memory()
    if cache == "ram" and needed > free // 2:
        _log.warning(
            "%.1f GB of pixels are too much for %.1f GB of free memory: photos are decoded whenever they are used",
            *(needed / 1e9, free / 1e9),
        )
        cache = "off"
    if cache == "off":
        return PixelStore(decode_all(lambda *_: None, 0), _OnDemand(paths, decoded_as, settings.shape).gather)
    pixels, filled = np.empty(shape, np.uint8), 0

    def keep(block: Pixels, *_: object) -> None:
        nonlocal filled
        pixels[filled : filled + len(block)] = block
        filled += len(block)

    return PixelStore(decode_all(keep, 0), lambda indices: pixels.take(indices, axis=0))


class _OnDemand:
    """Photos that are decoded on every access."""

    def __init__(self, paths: Sequence[Path], settings: Sequence[DecodeSettings], shape: tuple[int, int, int]) -> None:
        self._paths, self._settings, self._shape = paths, settings, shape
        self._pool = ThreadPoolExecutor(cores())

    def gather(self, indices: npt.NDArray[np.intp]) -> Pixels:
        """A new array of some rows, uint8 [len(indices), 3, H, W]."""
        out = np.empty((len(indices), *self._shape), np.uint8)

        def fill(row: int) -> None:
            path = self._paths[indices[row]]
            try:
                out[row] = decode(path, self._settings[indices[row]])
            except BadImage as error:
                raise UserError(f"{path} was a good photo before and now is not ({error}): put it back") from error

        for _ in self._pool.map(fill, range(len(indices))):  # reading each result raises a worker's error here
            pass
        return out


def _decode_all(
    paths: Sequence[Path],
    settings: Sequence[DecodeSettings],
    shape: tuple[int, int, int],
    progress: bool,
    keep: Keep,
    first: int,
) -> Outcome:
    """Decode the photos from the `first` on, on all cores, and hand the rows on, block by block in order.

    No more than a few blocks are in memory at a time. A bad photo's row is zero.
    """
    workers = cores()
    at_a_time = min(_TASK_PHOTOS, -(-len(paths) // (4 * workers)), max(1, _TASK_BYTES // math.prod(shape)))
    stop = threading.Event()

    sha256: list[str] = []
    bad: dict[int, str] = {}
    waiting: deque[Future[Block]] = deque()
    with (
        warnings.catch_warnings(),
        Progress(
            total=len(paths), initial=first, desc="Decoding photos", unit="photo", delay=1.5, disable=not progress
        ) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        warnings.filterwarnings("ignore", module=r"PIL\.")  # warnings on metadata; a bad file is reported anyway

        def take() -> None:
            block, digests, faults = waiting.popleft().result()
            keep(block, digests, faults)
            sha256.extend(digests)
            bad.update(faults)
            bar.update(len(block))

        try:
            for start in range(first, len(paths), max(1, at_a_time)):
                if len(waiting) == 4 * workers:
                    take()
                some = range(start, min(start + at_a_time, len(paths)))
                waiting.append(pool.submit(_decode_block, paths, settings, shape, some, stop))
            while waiting:
                take()
        except BaseException:  # Ctrl-C, a full disk: cancel the photos not yet started
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return sha256, bad


def _decode_block(
    paths: Sequence[Path],
    settings: Sequence[DecodeSettings],
    shape: tuple[int, int, int],
    some: range,
    stop: threading.Event,
) -> Block:
    """Decode some of the photos; those after `stop` get zeros."""
    block, digests, faults = np.zeros((len(some), *shape), np.uint8), [""] * len(some), {}
    for row, number in enumerate(some):
        if stop.is_set():
            break
        try:
            block[row], digests[row] = read(paths[number], settings[number])
        except BadImage as error:
            faults[number] = str(error)
    return block, digests, faults


def _free_memory() -> int:
    """Bytes that can be taken without swapping, within a container's limit; no limit where Linux does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return sys.maxsize
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), sys.maxsize)
    try:
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return free
