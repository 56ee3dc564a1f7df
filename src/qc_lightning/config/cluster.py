"""Settings of work on a Ray cluster."""

import re
from dataclasses import dataclass

from qc_lightning.config.checks import check


@dataclass(kw_only=True)
class RayConfig:
    """The cluster and the resources of one worker, for predictions, features and sweeps."""

    address: str  # auto: the cluster that this machine belongs to | <head>:6379 | local: a new one on this machine
    workers: int | None  # number of workers; null: as many as currently fit
    cpus: float  # cores of one worker
    gpus: float  # GPUs of one worker; 0.5: two workers share one
    memory: float | None  # gigabytes reserved for one worker; null: an estimate

    def __post_init__(self) -> None:
        valid = self.address in ("auto", "local") or re.fullmatch(r"\S+:\d{1,5}", self.address) is not None
        check(valid, "ray.address", "auto, local or <head>:<port>, such as 10.0.0.1:6379", self.address)
        check(self.workers is None or self.workers >= 1, "ray.workers", "at least 1, or null", self.workers)
        check(self.cpus > 0, "ray.cpus", "cores above 0", self.cpus)
        check(self.gpus >= 0, "ray.gpus", "GPUs, 0 or more", self.gpus)
        check(self.memory is None or self.memory > 0, "ray.memory", "gigabytes above 0, or null", self.memory)
