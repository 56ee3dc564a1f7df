"""Run one job of a sweep under any launcher: isolated state, output in a file, recorded result."""

import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from qc_lightning.core.atomic import read_json
from qc_lightning.core.run import Run
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.metrics.compute import FIGURES
from qc_lightning.sweep.folder import Record, clear
from qc_lightning.sweep.gpus import lent_gpu

_BEAT = 1.0  # seconds


@dataclass(frozen=True)
class SweepJob:
    """The callable that a launcher runs for each job, in this or another process.

    An error ends the job, not the sweep. A job whose process died starts from the beginning when called again; a
    finished job is not run again.

    Attributes:
        command: the training.
        describe: formats an error as one line.
        stop: whether Ctrl-C came, in this process, even if a library swallowed it.
    """

    command: Callable[[DictConfig], Any]
    describe: Callable[[BaseException], str]
    stop: StopRequest

    def __call__(self, cfg: DictConfig) -> Record:
        """Run the job in its Hydra folder; return the result, which is also written to `job.json` there.

        Raises:
            KeyboardInterrupt: Ctrl-C, which ends the sweep.
        """
        import lightning.pytorch  # noqa: F401  before the output is redirected: its log handler keeps the stream

        if self.stop.signal:
            raise KeyboardInterrupt
        hydra = HydraConfig.get()
        os.chdir(hydra.runtime.cwd)  # base of relative paths: a worker may have been started elsewhere
        folder = Path(hydra.runtime.output_dir)
        wait_for_others(folder)
        earlier = Record.read(folder)
        if earlier is not None and earlier.finished:
            return earlier
        clear(folder)
        start = time.perf_counter()
        with tidied(), (folder / "output.txt").open("w", encoding="utf-8") as output:
            try:
                quiet = redirect_stdout(output), redirect_stderr(output)
                with quiet[0], quiet[1], heartbeat(folder), isolated(), lent_gpu(cfg, hydra):
                    self.command(cfg)
                record = _of_run(Run(folder), time.perf_counter() - start)
            except (Exception, SystemExit) as error:
                if isinstance(error, SystemExit) and error.code == 130:
                    raise KeyboardInterrupt from None
                traceback.print_exc(file=output)
                record = Record("failed", round(time.perf_counter() - start, 3), self.describe(error) or repr(error))
        record.write(folder)
        return record


@contextmanager
def heartbeat(folder: Path) -> Iterator[None]:
    """Touch a file `alive` while the job runs, because jobs may outlive a killed sweep."""
    over = threading.Event()
    mine = f"{os.getpid()} {time.time()}"

    def beat() -> None:
        count = 0
        while not over.wait(_BEAT if count else 0):
            count += 1
            (folder / "alive").write_text(f"{mine} {count}", encoding="utf-8")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        (folder / "alive").unlink(missing_ok=True)


def wait_for_others(folder: Path) -> None:
    """Wait until no other process runs this job: on a cluster, jobs outlive a killed sweep."""
    while (seen := _pulse(folder)) is not None:
        time.sleep(3 * _BEAT)
        if _pulse(folder) == seen:
            return


def _pulse(folder: Path) -> str | None:
    try:
        return (folder / "alive").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


@contextmanager
def isolated() -> Iterator[None]:
    """Restore the process state that a training may change; each training seeds all random generators itself."""
    import torch

    environment = dict(os.environ)
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    threads, dtype, precision = torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)
        if "wandb" in sys.modules:  # otherwise the next job would write to this one's page
            sys.modules["wandb"].finish()


@contextmanager
def tidied() -> Iterator[None]:
    """Free the memory of a training, including the GPU's and what the traceback of an error references."""
    import torch

    try:
        yield
    finally:
        gc.collect()
        # Objects made by imports need no garbage collection after each job. They are frozen only once: a later freeze
        # would include the settings of the previous job, which are garbage in reference cycles.
        if not gc.get_freeze_count():
            gc.freeze()
        torch.cuda.empty_cache()  # without effect if CUDA was not used


def _of_run(run: Run, seconds: float) -> Record:
    metrics, losses = read_json(run.metrics), [row["val_loss"] for row in run.read_history()]
    measured = [loss for loss in losses if loss is not None]
    validation = metrics.get("val", {})
    val = {
        name: {part: validation[name].get(part) for part in ("value", "low", "high")}
        for name in FIGURES
        if name in validation
    }
    epochs = losses.index(min(measured)) + 1 if measured else len(losses)
    return Record("finished", round(seconds, 3), val=val, threshold=metrics["threshold"], epochs=epochs)
