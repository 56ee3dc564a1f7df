"""Large photos as a grid of tiles: a part is as bad as its worst tile."""

from torch import Tensor, nn

Grid = tuple[int, int]  # rows and columns


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
