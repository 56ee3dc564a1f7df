"""Photos over a Ray cluster: one way to hand them to a pool of workers and get one result for each."""

import logging
import os
import socket
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qc_lightning.config.cluster import RayConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.ray_environment import has_token, prepare_ray
from qc_lightning.core.shutdown import StopRequest

if TYPE_CHECKING:
    import pyarrow

Work = Callable[[list[bytes]], list[bytes]]
"""What a worker makes of some photos: a result for each, in their order."""

TRIES = 3
"""How often a photo is handed to a worker of its own before it counts as the cause of the workers' deaths."""

_SECONDS = 5.0  # to wait for a head that does not answer
_LOCAL_STORE = 500 << 20  # bytes of shared memory of a cluster of our own: paths and rows pass through it, not photos
_TASKS_PER_WORKER = 20  # at least, so that all end at about the same time


class Cluster:
    """A connection to Ray, and room for workers on it.

    Args:
        settings: which cluster, and what one worker gets of it.
        memory: bytes that one worker takes, by an estimate.

    Attributes:
        workers: at a time, at most.
        threads: of one worker.
        device: that one worker computes on, cpu or cuda.

    Raises:
        UserError: Ray is not installed, there is no cluster at the address, it wants another token, or no node of it
            has room for a worker.
    """

    def __init__(self, settings: RayConfig, memory: int) -> None:
        self._settings = settings
        self._memory = memory if settings.memory is None else int(settings.memory * 1e9)
        _connect(settings.address)
        self.workers = settings.workers or self._room()
        self.threads = max(1, int(settings.cpus))
        self.device = "cuda" if settings.gpus else "cpu"

    def __str__(self) -> str:
        device = f", {self._settings.gpus:g} GPUs" if self._settings.gpus else ""
        return f"{self.workers} workers with {self._settings.cpus:g} cores{device} on {len(_nodes())} nodes"

    def everywhere(self, check: Callable[[], str]) -> list[str]:
        """What a function returns on each node."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        on_ray = ray.remote(num_cpus=0)(lambda: check())  # Ray takes no partial
        places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in _nodes()]
        try:
            answers: list[str] = ray.get([on_ray.options(scheduling_strategy=place).remote() for place in places])
        except ray.exceptions.RayError as error:
            raise UserError(f"ray: a node cannot run qc-lightning: {_reason(error)}") from error
        return answers

    def results(
        self, make: Callable[[], Work], count: int, task: Callable[[int], bytes], most: int, stop: StopRequest
    ) -> Iterator[Sequence[tuple[int, bytes | None]]]:
        """Have every photo worked on; its number and its result, some at a time, in no order.

        Of a worker that dies its photos are tried again, and then each alone: three times, on a worker that has nothing
        else to do. Ray holds photos back that workers have no time for, so memory does not grow with their number.

        Args:
            make: makes what a worker does; called once in each.
            count: of photos.
            task: what a worker is to know of a photo, by its number.
            most: photos that a worker takes at a time.
            stop: ends it early.

        Returns:
            None for the result of a photo that has killed its worker each time.

        Raises:
            UserError: a worker cannot begin, or says what it cannot do.
        """
        import ray

        maker = ray.put(make)
        left, done = list(range(count)), bytearray(count)
        many = max(1, min(most, count // (_TASKS_PER_WORKER * self.workers)))
        for size, tries, in_flight in ((many, 2, 2), (1, TRIES, 1)):
            for block in self._results(maker, left, task, size, tries, in_flight, stop):
                new = [(number, result) for number, result in block if not done[number]]
                for number, _ in new:
                    done[number] = True
                yield new
            left = [number for number in left if not done[number]]
            if not left or stop.signal:
                return
        yield [(number, None) for number in left]

    def _results(
        self,
        maker: Any,
        numbers: Sequence[int],
        task: Callable[[int], bytes],
        size: int,
        tries: int,
        in_flight: int,
        stop: StopRequest,
    ) -> Iterator[list[tuple[int, bytes]]]:
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
                fn_constructor_args=[maker],
                batch_size=None,
                batch_format="pyarrow",
                compute=pool,
                num_cpus=self._settings.cpus,
                num_gpus=self._settings.gpus or None,
                memory=self._memory,
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
            raise UserError(f"ray: no worker could begin: {_reason(error)}") from error

    def _room(self) -> int:
        wanted = {"CPU": self._settings.cpus, "GPU": self._settings.gpus, "memory": float(self._memory)}
        fit = [min(node["Resources"].get(kind, 0) // of for kind, of in wanted.items() if of) for node in _nodes()]
        if sum(fit) >= 1:
            return int(sum(fit))
        most = {kind: max(node["Resources"].get(kind, 0) for node in _nodes()) for kind in wanted}
        short = next((kind for kind, of in wanted.items() if most[kind] < of), "CPU")
        unit, key = (1e9, "memory") if short == "memory" else (1.0, f"{short.lower()}s")
        what = {"memory": "GB of memory", "CPU": "cores", "GPU": "GPUs"}[short]
        raise UserError(
            f"ray.{key}: a worker needs {wanted[short] / unit:.3g} {what}, the largest node has "
            f"{most[short] / unit:.3g}: give ray.{key}=..., or ray.workers= for a cluster that adds nodes itself"
        )


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


def check_nodes(cluster: Cluster, photo: Path | None) -> None:
    """See that every node has this release and sees a file that all are to read.

    Raises:
        UserError: one does not.
    """
    answers = Counter(cluster.everywhere(partial(_look, photo)))
    here = _look(photo)
    if others := [answer for answer in answers if answer != here]:
        raise UserError(
            f"ray: {sum(answers[other] for other in others)} of {answers.total()} nodes differ from this machine: "
            f"{others[0]}; here: {here}"
        )


def _look(photo: Path | None) -> str:
    """What must be the same on every machine for results to be the same."""
    import PIL

    seen = "" if photo is None or photo.exists() else f", does not see {photo}"
    return f"qc-lightning {version('qc-lightning')}, Pillow {PIL.__version__}{seen}"


def check_address(address: str) -> None:
    """Set what Ray reads when it is imported, and see that something answers at an address `<head>:<port>`.

    At once: Ray itself would try for two minutes.

    Raises:
        UserError: nothing does.
    """
    prepare_ray()
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"ray.address: expected a Ray cluster at {address}, none answers there ({reason})") from error


def _connect(address: str) -> None:
    check_address(address)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UserError(f'engine=ray needs Ray ({error.name}): pip install "qc-lightning[ray]"') from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():  # by whoever calls from Python
        return
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _LOCAL_STORE}
    with _said() as said:
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **(own if address == "local" else {}),
            )
            return
        except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            problem = error
    if "token" in f"{said[0]} {problem}":
        what = "another one" if has_token() else "none here"
        raise UserError(
            f"ray.address={address}: the cluster asks for a token, there is {what}: copy the head's ~/.ray/auth_token "
            "to this machine or its text into RAY_AUTH_TOKEN; `ray get-auth-token` on the head shows it"
        ) from problem
    if address == "auto":
        raise UserError(
            "ray.address=auto: no Ray cluster runs on this machine: start one with `ray start --head`, give "
            "ray.address=<head>:6379, or ray.address=local for one of its own"
        ) from problem
    raise UserError(f"ray.address={address}: {_reason(problem)}") from problem


@contextmanager
def _said() -> Iterator[list[str]]:
    """What Ray's own libraries write to standard error in the block, kept from the user; known after the block."""
    said: list[str] = []
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield said
            finally:
                sys.stderr.flush()
                os.dup2(before, 2)
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
    finally:
        os.close(before)


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _reason(error: BaseException) -> str:
    """The last line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    with suppress(IndexError):
        return lines[-1][:300]
    return type(error).__name__
