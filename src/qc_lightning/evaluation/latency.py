"""Measure the time per photo, stage by stage, and compare it with a line's rate."""

import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qc_lightning.core.errors import UserError
from qc_lightning.core.system import cores
from qc_lightning.data.decoding.decode import BadImage, decode
from qc_lightning.inference.inspection import CameraPhoto
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.stream import Stream

ONE = "one photo, file to verdict"
ALL = "many photos, all cores"
_WARM_UP = 3  # warm-up calls: libraries prepare for every new shape
_FEWEST = 20  # smallest number of calls for a percentile, however long they take


def latency(
    inspector: Inspector, photos: Sequence[CameraPhoto], batch_sizes: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Time each stage in this process after a warm-up, with files in the system's cache if they fit.

    Args:
        inspector: the model.
        photos: with their cameras, taken in turn.
        batch_sizes: photos that go through the network at a time, each size measured.
        seconds: that each stage is measured for; a slow one takes longer, for 20 calls.

    Returns:
        {"device", "threads", "rows": [{"what", "calls", "p50_ms", "p95_ms", "p99_ms", "photos_per_s"}]}: milliseconds a
        call, percentiles by linear interpolation.

    Raises:
        UserError: a photo cannot be read.
    """
    try:
        pixels = _decoded(photos[0], inspector)
        files = cycle(photos)
        times = _timed(lambda: _decoded(next(files), inspector), seconds)
    except BadImage as reason:
        raise UserError(f"source: a photo cannot be read ({reason}): name others") from reason
    stages = [_row("decoding one photo, one thread", 1, times)]
    for size in batch_sizes:
        batch = np.repeat(pixels[None], size, axis=0)
        stages.append(_row(f"network, {size} at a time", size, _timed(partial(inspector.batch_scores, batch), seconds)))
    with Stream(inspector, max(batch_sizes)) as stream:
        stages.append(_row(ONE, 1, _timed(lambda: list(stream.inspect([next(files)])), seconds)))
        stages.append(_all_cores(stream, files, seconds))
    return {"device": _device(inspector.device), "threads": torch.get_num_threads(), "rows": stages}


def keeps_up(result: dict[str, Any], line_rate: float | None) -> tuple[bool | None, str]:
    """Whether verdicts keep up with a line of one photo per part, and the reason in words.

    A line is kept up with when 99 of 100 photos have their verdict before the next part comes, one photo at a time.

    Args:
        result: of `latency`.
        line_rate: parts per second, None if no line is named.

    >>> rows = [{"what": ONE, "p99_ms": 80.0}]
    >>> keeps_up({"rows": rows}, 10)
    (True, 'A line of 10 parts per second is kept up with: p99 is 80 ms, a part comes every 100 ms.')
    """
    p99 = next(row["p99_ms"] for row in result["rows"] if row["what"] == ONE)
    if line_rate is None:
        return (
            None,
            f"It keeps up with a line of up to {1000 / p99:.3g} parts per second (p99 of one photo: {p99:.3g} ms).",
        )
    met = bool(p99 <= 1000 / line_rate)
    words = "is kept up with" if met else "is NOT kept up with"
    every = f"p99 is {p99:.3g} ms, a part comes every {1000 / line_rate:.3g} ms"
    return met, f"A line of {line_rate:g} parts per second {words}: {every}."


def table(result: dict[str, Any]) -> str:
    """The rows as plain text."""
    lines = [f"{'milliseconds':34}{'p50':>9}{'p95':>9}{'p99':>9}{'photos/s':>11}"]
    for row in result["rows"]:
        times = (row[name] for name in ("p50_ms", "p95_ms", "p99_ms"))
        cells = "".join(f"{'-' if ms is None else f'{ms:.3g}':>9}" for ms in times)
        lines.append(f"{row['what']:34}{cells}{row['photos_per_s']:>11.3g}")
    return "\n".join(lines)


def _decoded(photo: CameraPhoto, inspector: Inspector) -> npt.NDArray[np.uint8]:
    return decode(photo.path, inspector.decode.at(photo.camera))


def _timed(call: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each call, repeated for a given time."""
    for _ in range(_WARM_UP):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _FEWEST or time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return times


def _row(what: str, photos: int, times: Sequence[float]) -> dict[str, Any]:
    p50, p95, p99 = (float(ms) for ms in np.percentile(times, (50, 95, 99)) * 1000)
    rate = photos * len(times) / math.fsum(times)
    return {"what": what, "calls": len(times), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "photos_per_s": rate}


def _all_cores(stream: Stream, files: Iterable[CameraPhoto], seconds: float) -> dict[str, Any]:
    done, begun = 0, time.perf_counter()

    def until(end: float) -> Iterator[CameraPhoto]:
        for number, path in enumerate(files):
            if number >= _FEWEST and time.perf_counter() > end:
                return
            yield path

    for batch in stream.inspect(until(begun + seconds)):
        done += len(batch)
    rate = done / (time.perf_counter() - begun)
    return {"what": ALL, "calls": done, "p50_ms": None, "p95_ms": None, "p99_ms": None, "photos_per_s": rate}


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"a CPU ({platform.machine()}, {cores()} cores)"
