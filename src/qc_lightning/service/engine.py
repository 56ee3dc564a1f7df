"""Photos from many clients through one model: decoded on all cores, judged in small batches, never more than fit."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from qc_lightning.core.system import cores
from qc_lightning.data.decode_settings import DecodeSettings
from qc_lightning.inference.inspection import Decoded, Inspection, PhotoLike, decode_photo

_MOST_AT_A_TIME = 8  # photos of one batch: a later one waits no longer than these take


class Model(Protocol):
    """What the engine needs of an inspector."""

    decode: DecodeSettings

    def inspect_decoded(self, photos: list[Decoded]) -> list[Inspection]:
        """The results of decoded photos, one batch."""
        ...


class Busy(Exception):
    """As many photos are waiting as may wait."""


class Engine:
    """One thread that runs the model, threads that decode in front of it.

    Photos that wait while the model runs go through it together. Nothing waits for a batch to fill.

    Args:
        model: the inspector.
        capacity: photos that may be on their way at a time, 1 or more.

    Attributes:
        capacity: as given.
    """

    def __init__(self, model: Model, capacity: int) -> None:
        self.capacity = capacity
        self._model = model
        self._free = threading.BoundedSemaphore(capacity)
        self._decoded: queue.SimpleQueue[tuple[Decoded, Future[Inspection]] | None] = queue.SimpleQueue()
        self._decoders = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()
        self._on_the_way = 0
        self._lock = threading.Lock()

    @property
    def on_the_way(self) -> int:
        """Photos that were submitted and have no result yet."""
        return self._on_the_way

    def submit(self, photo: PhotoLike) -> "Future[Inspection]":
        """Inspect a photo; the result comes later.

        Raises:
            Busy: `capacity` photos are on their way already.
        """
        if not self._free.acquire(blocking=False):
            raise Busy
        result: Future[Inspection] = Future()
        with self._lock:
            self._on_the_way += 1
        result.add_done_callback(self._let_go)
        try:
            self._decoders.submit(self._decode, photo, result)
        except RuntimeError as error:  # closed meanwhile
            result.set_exception(error)
        return result

    def close(self) -> None:
        """Finish what is on its way, then end the threads."""
        self._decoders.shutdown()
        self._decoded.put(None)
        self._thread.join()

    def _let_go(self, _: "Future[Inspection]") -> None:
        with self._lock:
            self._on_the_way -= 1
        self._free.release()

    def _decode(self, photo: PhotoLike, result: "Future[Inspection]") -> None:
        try:
            self._decoded.put((decode_photo(photo, self._model.decode), result))
        except BaseException as error:
            result.set_exception(error)

    def _run(self) -> None:
        ended = False
        while not ended:
            waiting = [self._decoded.get()]
            while len(waiting) < _MOST_AT_A_TIME:
                try:
                    waiting.append(self._decoded.get_nowait())
                except queue.Empty:
                    break
            ended = None in waiting
            batch = [item for item in waiting if item is not None]
            if batch:
                _answer(batch, self._model.inspect_decoded)


def _answer(
    batch: list[tuple[Decoded, "Future[Inspection]"]], inspect_decoded: Callable[[list[Decoded]], list[Inspection]]
) -> None:
    try:
        inspections = inspect_decoded([photo for photo, _ in batch])
    except BaseException as error:
        for _, result in batch:
            result.set_exception(error)
        return
    for (_, result), inspection in zip(batch, inspections, strict=True):
        result.set_result(inspection)
