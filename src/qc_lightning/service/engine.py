"""One bounded queue for photos of many clients: decoded on all cores, inspected in small batches."""

import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

from qc_lightning.core.system import cores
from qc_lightning.data.decoding.decode_settings import DecodeSettings
from qc_lightning.inference.inspection import Decoded, Inspection, PhotoLike, decode_photo

_MOST_AT_A_TIME = 8  # photos per batch: a later photo waits at most for one batch


class Model(Protocol):
    """The interface of an inspector that the engine needs."""

    decode: DecodeSettings

    def inspect_decoded(self, photos: list[Decoded]) -> list[Inspection]:
        """Inspect one batch of decoded photos."""
        ...


class _Item(NamedTuple):
    photo: Decoded
    model: Model
    result: "Future[Inspection]"


class Busy(Exception):
    """The queue is full."""


class Engine:
    """One thread that runs the models, and threads that decode ahead of it.

    Photos that wait while a model runs form the next batch. No photo waits for a batch to fill.

    Args:
        capacity: largest number of photos in progress, 1 or more.

    Attributes:
        capacity: as given.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = threading.BoundedSemaphore(capacity)
        self._decoded: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._decoders = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()
        self._on_the_way = 0
        self._lock = threading.Lock()

    @property
    def on_the_way(self) -> int:
        """Number of submitted photos without a result."""
        return self._on_the_way

    def submit(self, photo: PhotoLike, model: Model) -> "Future[Inspection]":
        """Submit a photo; the result is a future.

        Args:
            photo: the photo.
            model: its inspector.

        Raises:
            Busy: `capacity` photos are already in progress.
        """
        if not self._free.acquire(blocking=False):
            raise Busy
        result: Future[Inspection] = Future()
        with self._lock:
            self._on_the_way += 1
        result.add_done_callback(self._let_go)
        try:
            self._decoders.submit(self._decode, photo, model, result)
        except RuntimeError as error:  # closed meanwhile
            result.set_exception(error)
        return result

    def close(self) -> None:
        """Finish the submitted photos, then end the threads."""
        self._decoders.shutdown()
        self._decoded.put(None)
        self._thread.join()

    def _let_go(self, _: "Future[Inspection]") -> None:
        with self._lock:
            self._on_the_way -= 1
        self._free.release()

    def _decode(self, photo: PhotoLike, model: Model, result: "Future[Inspection]") -> None:
        try:
            self._decoded.put(_Item(decode_photo(photo, model.decode), model, result))
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
            batches: dict[int, list[_Item]] = {}
            for item in waiting:
                if item is not None:
                    batches.setdefault(id(item.model), []).append(item)
            for batch in batches.values():
                _answer(batch)


def _answer(batch: list[_Item]) -> None:
    try:
        inspections = batch[0].model.inspect_decoded([item.photo for item in batch])
    except BaseException as error:
        for item in batch:
            item.result.set_exception(error)
        return
    for item, inspection in zip(batch, inspections, strict=True):
        item.result.set_result(inspection)
