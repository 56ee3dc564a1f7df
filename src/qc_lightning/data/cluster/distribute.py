"""Distribute photos over a pool of workers on a Ray cluster and get one result for each."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from qc_lightning.config.cluster import RayConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.data.cluster.ray_connection import connect, nodes, reason_of
from qc_lightning.data.cluster.worker_pool import Work, WorkerPool

TRIES = 3
"""How often a photo is given to a worker alone before it counts as the cause of the workers' deaths."""

_TASKS_PER_WORKER = 20  # at least, so that all workers end at about the same time
_FEWER = 4  # factor by which a batch shrinks after most of its photos were lost
_MOST_LOST = 20  # photos suspected of killing their workers while no other photo succeeds


class Cluster:
    """A connection to Ray, and room for workers on it.

    Args:
        settings: address of the cluster, and the resources of one worker.
        memory: estimated bytes of one worker.

    Attributes:
        workers: largest number of workers at a time.
        threads: threads of one worker.
        device: device of one worker, cpu or cuda.

    Raises:
        UserError: Ray is not installed, there is no cluster at the address, it wants another token, or no node of it
            has room for a worker.
    """

    def __init__(self, settings: RayConfig, memory: int) -> None:
        self._settings = settings
        self._memory = memory if settings.memory is None else int(settings.memory * 1e9)
        connect(settings.address)
        self.workers = settings.workers or self._room()
        if self.workers < 1:
            raise self._no_room()
        self.threads = max(1, int(settings.cpus))
        self.device = "cuda" if settings.gpus else "cpu"

    def __str__(self) -> str:
        device = f", {self._settings.gpus:g} GPUs" if self._settings.gpus else ""
        return f"{self.workers} workers with {self._settings.cpus:g} cores{device} on {len(nodes())} nodes"

    def everywhere(self, check: Callable[[], str]) -> list[str]:
        """Run a function on each node and return the results."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        on_ray = ray.remote(num_cpus=0)(lambda: check())  # Ray takes no partial
        places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes()]
        try:
            answers: list[str] = ray.get([on_ray.options(scheduling_strategy=place).remote() for place in places])
        except ray.exceptions.RayError as error:
            raise UserError(f"ray: a node cannot run qc-lightning: {reason_of(error)}") from error
        return answers

    def results(
        self, make: Callable[[], Work], count: int, task: Callable[[int], bytes], most: int, stop: StopRequest
    ) -> Iterator[Sequence[tuple[int, bytes | None]]]:
        """Process every photo; yields numbers and results in batches, in no particular order.

        The photos of a worker that dies are tried again, in rounds of ever fewer photos per task; a photo that is alone
        with its worker is tried three times. Ray limits the tasks in flight, so memory does not grow with the number of
        photos.

        Args:
            make: called once in each worker, returns its work.
            count: number of photos.
            task: returns the message to a worker about the photo of a number.
            most: most photos per task.
            stop: ends the work early.

        Returns:
            None for the result of a photo that has killed its worker each time.

        Raises:
            UserError: a worker cannot start or reports an error, no worker survives any photo, or no node has had room
                for one for minutes.
        """
        import ray

        gpus = self._settings.gpus or None
        pool = WorkerPool(ray.put(make), self.workers, self._settings.cpus, gpus, self._memory, self._room)
        left: Sequence[int] = range(count)
        done, size, alone = bytearray(count), most, 0
        while left and alone < TRIES and not stop.signal:
            before = len(left)
            size = max(1, min(size, before // (_TASKS_PER_WORKER * self.workers)))
            for block in pool.results(left, task, size, stop):
                new = [(number, result) for number, result in block if not done[number]]
                for number, _ in new:
                    done[number] = True
                yield new
            left = [number for number in left if not done[number]]
            # after a node was lost: a pool that no longer fits would wait for it, and its photos count as lost again
            pool = replace(pool, workers=max(1, min(self.workers, self._room())))
            alone += size == 1
            if 2 * len(left) > before:  # photos that kill their worker take others with them
                size //= _FEWER
        if not left or stop.signal:
            return
        if len(left) > _MOST_LOST and len(left) == before:
            raise UserError(
                f"ray: a worker died {TRIES} times on each of {len(left)} photos, perhaps out of memory: "
                "give a larger ray.memory="
            )
        yield [(number, None) for number in left]

    def _room(self) -> int:
        """Number of workers that fit on the live nodes, ignoring other work there."""
        wanted = self._wanted()
        fit = [
            min(node["Resources"].get(kind, 0) // amount for kind, amount in wanted.items() if amount)
            for node in nodes()
        ]
        return int(sum(fit))

    def _wanted(self) -> dict[str, float]:
        return {"CPU": self._settings.cpus, "GPU": self._settings.gpus, "memory": float(self._memory)}

    def _no_room(self) -> UserError:
        wanted = self._wanted()
        most = {kind: max(node["Resources"].get(kind, 0) for node in nodes()) for kind in wanted}
        short = next((kind for kind, amount in wanted.items() if most[kind] < amount), "CPU")
        unit, key = (1e9, "memory") if short == "memory" else (1.0, f"{short.lower()}s")
        what = {"memory": "GB of memory", "CPU": "cores", "GPU": "GPUs"}[short]
        return UserError(
            f"ray.{key}: a worker needs {wanted[short] / unit:.3g} {what}, the largest node has "
            f"{most[short] / unit:.3g}: give ray.{key}=..., or ray.workers= for a cluster that adds nodes itself"
        )


def check_nodes(cluster: Cluster, photo: Path | None) -> None:
    """Check that every node has this release and sees a common file.

    Raises:
        UserError: one does not.
    """
    answers = Counter(cluster.everywhere(partial(_look, photo)))
    own_answer = _look(photo)
    if others := [answer for answer in answers if answer != own_answer]:
        raise UserError(
            f"ray: {sum(answers[other] for other in others)} of {answers.total()} nodes differ from this machine: "
            f"{others[0]}; here: {own_answer}"
        )


def _look(photo: Path | None) -> str:
    """The versions that results depend on, and whether the photo is visible here."""
    import PIL

    seen = "" if photo is None or photo.exists() else f", does not see {photo}"
    return f"qc-lightning {version('qc-lightning')}, Pillow {PIL.__version__}{seen}"
