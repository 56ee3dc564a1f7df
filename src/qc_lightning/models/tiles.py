"""The portions in which photos go through a network: a large one as a grid of tiles, the worst of which counts; many
in blocks, so that on a CPU no photo's result depends on the rest of its batch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Grid = tuple[int, int]  # rows and columns
Forward = Callable[[Tensor], tuple[Tensor, ...]]  # [B, ...] to tensors of as many rows each


def split(image: Tensor, grid: Grid) -> Tensor:
    """Cut [B, C, rows * h, columns * w] into [B * tiles, C, h, w]: a photo's tiles in a row, line by line.

    >>> import torch
    >>> split(torch.arange(8).view(1, 1, 2, 4), (1, 2)).flatten(1).tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    if grid == (1, 1):
        return image
    down, across = grid
    count, channels, height, width = image.shape
    cut = image.reshape(count, channels, down, height // down, across, width // across)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, height // down, width // across)


def join(tiles: Tensor, grid: Grid) -> Tensor:
    """Undo `split`."""
    down, across = grid
    _, channels, height, width = tiles.shape
    laid = tiles.reshape(-1, down, across, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return laid.reshape(-1, channels, down * height, across * width)


def max_over_tiles(logit: Tensor, grid: Grid) -> Tensor:
    """The highest logit of each photo's tiles: [B * tiles, 1] to [B]; its gradient goes to that tile alone."""
    return logit.view(-1, grid[0] * grid[1]).amax(1)


class Mosaic(nn.Module):
    """Tiles' maps laid out as their photo's: [B * tiles, C, h, w] to [B, C, rows * h, columns * w].

    A module, so that Grad-CAM can listen to its output.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, maps: Tensor) -> Tensor:
        """Return the photos' maps."""
        return maps if self.grid == (1, 1) else join(maps, self.grid)


def smallest_block(forward: Forward, shape: Sequence[int], block: int) -> int:
    """The least photos that this machine computes exactly as in blocks of that size: a photo alone needs no more.

    Args:
        forward: uint8 [B, *shape] to tensors of as many rows each.
        shape: of a photo.
        block: result of `block_of`.
    """
    noise = torch.randint(256, (block, *shape), generator=torch.Generator().manual_seed(0)).byte()
    wanted = forward(noise)
    for size in range(4, block, 4):
        if all(map(torch.equal, wanted, blockwise(forward, noise, size))):
            return size
    return block


def blockwise(forward: Forward, batch: Tensor, block: int) -> tuple[Tensor, ...]:
    """Run a batch in blocks of one size, the last one filled up with zeros.

    Args:
        forward: [block, ...] to tensors of as many rows each.
        batch: [B, ...], at least one row.
        block: result of `block_of`.
    """
    filled = torch.cat([batch, batch.new_zeros(-len(batch) % block, *batch.shape[1:])])
    parts = [forward(filled[start : start + block]) for start in range(0, len(filled), block)]
    return tuple(torch.cat(each)[: len(batch)] for each in zip(*parts, strict=True))
