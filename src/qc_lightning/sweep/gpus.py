"""Give each running job its own GPU, or refuse it."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from qc_lightning.core.errors import UserError

_LENT_HERE = ("JoblibLauncher", "LocalLauncher")  # launchers that run several jobs at a time without a scheduler
_POLL = 1.0  # seconds between polls for a free GPU


@contextmanager
def lent_gpu(cfg: DictConfig, hydra: Any) -> Iterator[None]:
    """Reserve a GPU for the job by setting `trainer.devices`, waiting until one is free.

    A reserved GPU is a locked file, so a killed job releases its GPU. Schedulers (Slurm, Ray) assign GPUs themselves;
    for them the function only checks that a GPU is assigned.

    Args:
        cfg: settings of the job.
        hydra: the job's `HydraConfig.get()`.

    Raises:
        UserError: the job would take a GPU that others may be using.
    """
    import torch

    launcher = str(hydra.launcher._target_).rsplit(".", 1)[-1]
    count = torch.cuda.device_count() if cfg.trainer.accelerator in ("auto", "gpu", "cuda") else 0
    with ExitStack() as stack:
        if count and launcher in _LENT_HERE:
            if str(cfg.trainer.devices) != "1":
                raise UserError(
                    f"trainer.devices: expected 1 where several jobs run at a time, got {cfg.trainer.devices}; "
                    "a job borrows one GPU"
                )
            OmegaConf.update(cfg, "trainer.devices", [_borrow(_names(count), stack)], force_add=True)
        elif count and launcher != "BasicLauncher" and "CUDA_VISIBLE_DEVICES" not in os.environ:
            raise UserError(
                "this node has GPUs and the job was given none: ask for one (hydra.launcher.gpus_per_node=1, "
                "hydra.launcher.ray.remote.num_gpus=1) or train with trainer=cpu"
            )
        yield


def _names(count: int) -> list[str]:
    """Machine-wide unique names of the visible GPUs."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible if len(visible) == count else [str(number) for number in range(count)]


def _borrow(names: list[str], stack: ExitStack) -> int:
    """Lock a GPU until `stack` is closed, and return its position."""
    import fcntl

    while True:
        for position, name in enumerate(names):
            path = Path(tempfile.gettempdir()) / f"qc-lightning-gpu-{os.getuid()}-{name.replace('/', '_')}.lock"
            file = path.open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            stack.callback(file.close)
            return position
        time.sleep(_POLL)
