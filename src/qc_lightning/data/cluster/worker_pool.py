"""A pool of workers on a Ray cluster that share tasks."""

import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

from qc_lightning.core.errors import UserError
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.data.cluster.ray_connection import reason_of

if TYPE_CHECKING:
    import pyarrow

_log = logging.getLogger(__name__)

_TICK, _NOTICE, _PATIENCE = 1.0, 10.0, 300.0  # seconds without a result: to look, to say so, to give up

Work = Callable[[list[bytes]], list[bytes]]
"""Takes messages about photos and returns a result for each, in their order."""


class _Worker:
    """The state of a worker process."""

    def __init__(self, make: Callable[[], Work]) -> None:
        import ray

        self._work = ray.get(make)() if isinstance(make, ray.ObjectRef) else make()

    def __call__(self, batch: "pyarrow.Table") -> "pyarrow.Table":
        import pyarrow

        failure, results = "", list[bytes]()
        try:
            results = self._work(batch.column("task").to_pylist())
        except UserError as error:
            failure = str(error)
        except Exception as error:
            failure = f"ray: a worker failed: {type(error).__name__}: {error}"
        if failure:
            results = [b""] * len(batch)
        columns = pyarrow.array(results, pyarrow.binary()), pyarrow.array([failure] * len(batch), pyarrow.string())
        return pyarrow.table([batch.column("number"), *columns], names=["number", "result", "failure"])


@dataclass(frozen=True)
class WorkerPool:
    """Worker processes on a cluster that run the same task.

    Attributes:
        maker: reference to a function that is called once in each worker and returns its work.
        workers: largest number of worker processes.
        cpus: cores of each worker.
        gpus: GPUs of each worker.
        memory: bytes of each worker.
        room: returns the number of workers that fit on the live nodes.
    """

    maker: Any  # ray.ObjectRef
    workers: int
    cpus: float
    gpus: float | None
    memory: int
    room: Callable[[], int]

    def results(
        self, numbers: Sequence[int], task: Callable[[int], bytes], size: int, stop: StopRequest
    ) -> Iterator[list[tuple[int, bytes]]]:
        """Yield numbers and results of photos in blocks, in no particular order; photos whose worker died are missing.

        Args:
            numbers: numbers of the photos.
            task: returns the message to a worker about the photo of a number.
            size: photos per task. With 1, a worker holds one photo only, so that its death has one suspect.
            stop: ends the work early.

        Raises:
            UserError: a worker cannot start or reports an error, or no node has had room for one for minutes.
        """
        import ray

        before = set(threading.enumerate())
        try:
            for block in self._while_there_is_room(_as_they_come(self._blocks(numbers, task, size))):
                if block is not None:
                    answers = block.to_pylist()
                    if failures := [row["failure"] for row in answers if row["failure"]]:
                        raise UserError(failures[0])
                    yield [(row["number"], row["result"]) for row in answers]
                if stop.signal:
                    return
        except ray.exceptions.ObjectLostError:  # results that were on a node when it was lost
            return
        except ray.exceptions.RayError as error:
            raise UserError(f"ray: no worker could begin: {reason_of(error)}") from error
        finally:
            _end_executors(before)

    def _blocks(self, numbers: Sequence[int], task: Callable[[int], bytes], size: int) -> "Iterator[pyarrow.Table]":
        """The results from Ray Data, one table per finished task."""
        import pyarrow
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # whoever calls sees which photos are missing
        blocks = []
        for start in range(0, len(numbers), size):
            some = list(numbers[start : start + size])
            tasks = pyarrow.array([task(number) for number in some], pyarrow.binary())
            blocks.append(ray.put(pyarrow.table([pyarrow.array(some, pyarrow.int64()), tasks], ["number", "task"])))
        in_flight = 1 if size == 1 else 2
        pool = ActorPoolStrategy(size=min(self.workers, len(blocks)), max_tasks_in_flight_per_actor=in_flight)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of max_restarts, which Ray below 2.64 takes
            dataset = ray.data.from_arrow_refs(blocks).map_batches(  # waits for a node that has a free core
                _Worker,
                fn_constructor_args=[self.maker],
                batch_size=None,
                batch_format="pyarrow",
                compute=pool,
                num_cpus=self.cpus,
                num_gpus=self.gpus,
                memory=self.memory,
                max_restarts=-1,
                max_task_retries=0,  # otherwise a task would wait for a lost node
            )
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)

    def _while_there_is_room(self, blocks: "Iterator[pyarrow.Table | None]") -> "Iterator[pyarrow.Table | None]":
        """Pass blocks on; end if none arrives because a node was lost and the others have no room for its workers."""
        last, warned = time.monotonic(), False
        for block in blocks:
            yield block
            waited = time.monotonic() - last
            if block is not None:
                last, warned = time.monotonic(), False
            elif waited > _NOTICE and not warned and self.room() < 1:
                _log.warning(
                    "no node has room for a worker, which needs %s: waiting for one for %s", self, _minutes(_PATIENCE)
                )
                warned = True
            elif waited > _PATIENCE and (room := self.room()) < self.workers:
                if room:
                    return
                raise UserError(
                    f"ray: for {_minutes(waited)} no node has had room for a worker, which needs {self}: add a node"
                )

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        return f"{self.cpus:g} cores{gpus}, {self.memory / 1e9:.1f} GB of memory"


def _as_they_come(blocks: "Iterable[pyarrow.Table]") -> "Iterator[pyarrow.Table | None]":
    """Blocks, read by another thread; None for each second without one."""
    taken: Queue[pyarrow.Table | BaseException | None] = Queue(maxsize=1)
    ended = threading.Event()

    def take() -> None:
        end: BaseException | None = None
        try:
            for block in blocks:
                taken.put(block)
                if ended.is_set():
                    return
        except BaseException as error:
            end = error
        taken.put(end)

    threading.Thread(target=take, daemon=True).start()  # a thread waiting for a lost node must not block the exit
    try:
        while True:
            try:
                block = taken.get(timeout=_TICK)
            except Empty:
                yield None
                continue
            if block is None:
                return
            if isinstance(block, BaseException):
                raise block
            yield block
    finally:
        ended.set()
        with suppress(Empty):
            taken.get_nowait()


def _end_executors(before: set[threading.Thread]) -> None:
    """End the executors of Ray Data that were started since.

    An executor that waits for a lost node would keep its place in the queue for workers. At the end of the process it
    would call Ray after Ray's shutdown, and Ray would end the process with exit code 1.

    Args:
        before: the threads that were there before.
    """
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("StreamingExecutor"):  # threads with a method shutdown, as far as Ray has any
            getattr(thread, "shutdown", lambda force: None)(force=True)


def _minutes(seconds: float) -> str:
    """A duration in words: `5 minutes`, `12 seconds`."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
