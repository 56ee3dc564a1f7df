"""Memory for features: an array, or a file on disk for large ones."""

import math
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qc_lightning.core.errors import UserError

_IN_MEMORY = 1 << 30  # bytes: larger features are in a file that the system pages in as needed


def room_for(shape: tuple[int, ...], dtype: torch.dtype, folder: Path | None) -> Tensor:
    """An empty tensor on the CPU; a large one is backed by an unnamed file that is freed with the tensor.

    Args:
        shape: of the tensor.
        dtype: of the tensor.
        folder: for the file; None for the folder of temporary files.

    Raises:
        UserError: the disk has not so much room.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= _IN_MEMORY:
        return torch.empty(shape, dtype=dtype)
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # otherwise a disk that fills up later would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = np.memmap(file, torch.empty(0, dtype=dtype).numpy().dtype, "r+", shape=shape)
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise UserError(
            f"the features of this many photos need a file of {size / 1e9:.1f} GB in {where}, and it cannot be made "
            f"({error.strerror or error}): make room there, or name another disk with data.cache_dir="
        ) from error
    return torch.from_numpy(mapped)
