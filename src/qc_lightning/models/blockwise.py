"""Batches run on a CPU so that no photo's result depends on the photos beside it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from qc_lightning.models.network import Network

_BLOCK = 16  # rows; a product of as many has the same kernels whatever the rows hold, one of a single row has others


def block_of(network: nn.Module) -> int:
    """How many photos go through a network on a CPU at a time.

    The last bits of a matrix product depend on how many photos it is of. A network with maps takes one photo at a time,
    which is no slower there and is how the training of a frozen network computed its features.
    """
    return 1 if isinstance(network, Network) else _BLOCK


def blockwise(forward: Callable[[Tensor], tuple[Tensor, ...]], batch: Tensor, block: int) -> tuple[Tensor, ...]:
    """Run a batch in blocks of one size, the last one filled up with zeros.

    Args:
        forward: [block, ...] to tensors of as many rows each.
        batch: [B, ...], at least one row.
        block: as `block_of` gives it.
    """
    filled = torch.cat([batch, batch.new_zeros(-len(batch) % block, *batch.shape[1:])])
    parts = [forward(filled[start : start + block]) for start in range(0, len(filled), block)]
    return tuple(torch.cat(each)[: len(batch)] for each in zip(*parts, strict=True))
