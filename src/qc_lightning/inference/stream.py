"""Inspect files in order, decoding on all cores ahead of the network."""

import math
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Self

from qc_lightning.core.system import cores
from qc_lightning.data.sources.remote import RemotePhoto
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspection import CameraPhoto, Decoded, Inspection, decode_photo
from qc_lightning.inference.inspector import Inspector

Photos = Iterable[Path | RemotePhoto | CameraPhoto]

_TASK_PHOTOS = 16  # photos per task: keeps queueing cheap
_TASK_SECONDS = 0.02  # ... unless they take longer than this: keeps all threads busy
_TASK_BYTES = 4 << 20  # ... or have more pixels than this: keeps memory small
_HELD_SECONDS = 0.4  # longest time that a decoded photo waits for its batch, and that a batch takes


class Stream:
    """Decoding threads in front of a network; memory does not grow with the number of photos.

    On a CPU the threads also run the network, each on its own batch and core: cores that share a batch would wait for
    each other, especially on a busy machine.

    Args:
        inspector: the model; an exported one should use one thread per call.
        batch_size: largest number of photos per batch.
        exact: fill every batch except the last with `batch_size` readable photos, however long that takes, and run it
            as training does. The last bits of a logit can depend on the batch of its photo, so the same batches give
            exactly the logits of training. Otherwise no result waits longer than about half a second.
        threads: number of decoding threads; 0: one for each core.
    """

    def __init__(
        self, inspector: Inspector | ExportedInspector, batch_size: int, exact: bool = False, threads: int = 0
    ) -> None:
        self._inspector, self._batch_size = inspector, batch_size
        self._threads = threads or cores()
        self._torch_threads, alone = 0, None
        # a small network finishes on one core before other cores start
        self._exact, self._network_in_pool, self._small = False, True, False
        if isinstance(inspector, Inspector):
            import torch

            from qc_lightning.models.network import Network

            network, cpu = inspector.network, inspector.device.type == "cpu"
            # training with a frozen network processed each photo alone, or on a GPU in blocks of one size
            self._exact = exact and not (isinstance(network, Network) and network.frozen)
            self._network_in_pool = cpu and not self._exact
            self._small = self._network_in_pool and not isinstance(network, Network)
            self._torch_threads = torch.get_num_threads()
            alone = partial(torch.set_num_threads, 1) if self._network_in_pool else None
        self._pool = ThreadPoolExecutor(self._threads, initializer=alone)
        self._ended = threading.Event()
        self._decode_seconds = _TASK_SECONDS  # recent time per photo
        self._network_seconds = _HELD_SECONDS / 4  # recent time per photo; this guess makes the first batch small

    def __enter__(self) -> Self:
        """Silence warnings about metadata: a bad file is reported anyway."""
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Cancel photos that have not been started."""
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)
        if self._torch_threads:
            import torch

            torch.set_num_threads(self._torch_threads)  # later threads would start with the pool's number
        self._warnings.__exit__(None, None, None)

    def inspect(self, paths: Photos) -> Iterator[list[Inspection]]:
        """Inspect photos batch by batch; every path gives one Inspection, in the given order.

        Args:
            paths: files or photos in object storage, with or without their cameras; read only as far ahead as the
                threads work.
        """
        to_come = iter(paths)
        first = list(islice(to_come, 2))
        if len(first) == 1:  # a single photo, as in a watched folder: more threads would not help
            photo = self._decode_some(first)
            yield self._pool.submit(self._judge, photo).result() if self._small else self._judge(photo)
            return
        judged: deque[Future[list[Inspection]]] = deque()
        for batch in self._batches(chain(first, to_come)):
            if not self._network_in_pool:
                yield self._judge(batch)
                continue
            if batch:
                judged.append(self._pool.submit(self._judge, batch))
            while judged and (judged[0].done() or len(judged) > 2 * self._threads):
                yield judged.popleft().result()
        while judged:
            yield judged.popleft().result()

    def _batches(self, paths: Photos) -> Iterator[list[Decoded]]:
        """Batches of decoded photos in order, with an occasional empty list."""
        held: list[Decoded] = []
        readable, since = 0, 0.0
        for decoded in self._decode(paths):
            for photo in decoded:
                since = since if held else time.monotonic()
                held.append(photo)
                readable += photo.pixels is not None
                if readable >= self._photos_at_a_time():
                    yield held
                    held, readable = [], 0
            if not held:
                yield []
            elif not self._exact and time.monotonic() - since > _HELD_SECONDS:
                yield held
                held, readable = [], 0
        if held:
            yield held

    def _photos_at_a_time(self) -> int:
        if self._exact or self._network_seconds * self._batch_size <= _HELD_SECONDS:
            return self._batch_size
        # a power of two: the library prepares each new size separately
        return 1 << max(0, int(_HELD_SECONDS / self._network_seconds).bit_length() - 1)

    def _decode(self, paths: Photos) -> Iterator[list[Decoded]]:
        """Decoded photos in order, and an empty list whenever the next ones are not ready."""
        waiting: deque[Future[list[Decoded]]] = deque()
        to_come = iter(paths)
        most = max(1, min(_TASK_PHOTOS, _TASK_BYTES // math.prod(self._inspector.decode.shape)))
        while True:
            while len(waiting) < 4 * self._threads:
                count = max(1, min(most, int(_TASK_SECONDS / self._decode_seconds)))
                if not (task := list(islice(to_come, count))):
                    break
                waiting.append(self._pool.submit(self._decode_some, task))
            if not waiting:
                return
            try:
                decoded = waiting[0].result(timeout=_HELD_SECONDS)
            except TimeoutError:
                yield []
                continue
            waiting.popleft()
            self._decode_seconds = max(1e-6, sum(photo.seconds for photo in decoded) / max(1, len(decoded)))
            yield decoded

    def _decode_some(self, paths: Photos) -> list[Decoded]:
        decoded = []
        for path in paths:
            if self._ended.is_set():
                break
            decoded.append(decode_photo(path, self._inspector.decode))
        return decoded

    def _judge(self, photos: list[Decoded]) -> list[Inspection]:
        begun = time.perf_counter()
        inspector = self._inspector
        inspections = (
            inspector.inspect_decoded(photos, self._exact)
            if isinstance(inspector, Inspector)
            else inspector.inspect_decoded(photos)
        )
        if readable := sum(photo.pixels is not None for photo in photos):
            self._network_seconds = (time.perf_counter() - begun) / readable
        return inspections
