"""A pool of workers on a Ray cluster that tasks are shared out over."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qc_lightning.core.errors import UserError
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.data.ray_connection import reason_of

if TYPE_CHECKING:
    import pyarrow

Work = Callable[[list[bytes]], list[bytes]]
"""What a worker makes of some photos: a result for each, in their order."""


class _Worker:
    """What Ray keeps in a process."""

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
    """Processes on a cluster that all do the same work.

    Attributes:
        maker: a reference to what makes the work, called once in each.
        workers: at most.
        cpus: cores of each.
        gpus: of each.
        memory: bytes of each.
    """

    maker: Any  # ray.ObjectRef
    workers: int
    cpus: float
    gpus: float | None
    memory: int

    def results(
        self,
        numbers: Sequence[int],
        task: Callable[[int], bytes],
        size: int,
        tries: int,
        in_flight: int,
        stop: StopRequest,
    ) -> Iterator[list[tuple[int, bytes]]]:
        """Numbers of photos and what the workers made of them, in no order; photos whose workers died are left out.

        Args:
            numbers: of the photos.
            task: what a worker is to know of a photo, by its number.
            size: photos that a worker takes at a time.
            tries: how often these are handed to a worker.
            in_flight: how many times so many wait at a worker.
            stop: ends it early.

        Raises:
            UserError: a worker cannot begin, or says what it cannot do.
        """
        import pyarrow
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # the photos of a block whose worker died are tried again
        blocks = []
        for start in range(0, len(numbers), size):
            some = numbers[start : start + size]
            tasks = pyarrow.array([task(number) for number in some], pyarrow.binary())
            blocks.append(ray.put(pyarrow.table([pyarrow.array(some, pyarrow.int64()), tasks], ["number", "task"])))
        pool = ActorPoolStrategy(size=min(self.workers, len(blocks)), max_tasks_in_flight_per_actor=in_flight)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of max_restarts, which Ray below 2.64 takes
            done = ray.data.from_arrow_refs(blocks).map_batches(
                _Worker,
                fn_constructor_args=[self.maker],
                batch_size=None,
                batch_format="pyarrow",
                compute=pool,
                num_cpus=self.cpus,
                num_gpus=self.gpus,
                memory=self.memory,
                max_restarts=-1,
                max_task_retries=tries - 1,  # else Ray would retry without end
            )
        del blocks
        try:
            for block in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                found = block.to_pylist()
                if failures := [row["failure"] for row in found if row["failure"]]:
                    raise UserError(failures[0])
                yield [(row["number"], row["result"]) for row in found]
                if stop.signal:
                    return
        except ray.exceptions.RayError as error:
            raise UserError(f"ray: no worker could begin: {reason_of(error)}") from error
