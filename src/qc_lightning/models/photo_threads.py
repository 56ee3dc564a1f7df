"""Threads that each send a photo of their own through a network."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch

from qc_lightning.core.system import cores


@contextmanager
def photo_threads(device: torch.device, elsewhere: int = 1) -> Iterator[ThreadPoolExecutor]:
    """A pool with one thread per core on a CPU, each computing on its core alone.

    The number of torch's threads is restored at the end. `torch.set_num_threads` counts for the calling thread and
    for every thread that has not computed yet: the main thread would fit the head on one core.

    Args:
        device: where the network is.
        elsewhere: number of threads for another device.
    """
    cpu, before = device.type == "cpu", torch.get_num_threads()
    alone = partial(torch.set_num_threads, 1) if cpu else None
    with ThreadPoolExecutor(cores() if cpu else elsewhere, initializer=alone) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)
