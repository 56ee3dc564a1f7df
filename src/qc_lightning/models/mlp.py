"""The paper's network: a multilayer perceptron on the pixels."""

from collections.abc import Sequence

from torch import Tensor, nn

from qc_lightning.models.heads.perceptron import perceptron
from qc_lightning.models.tiles import Grid, max_over_tiles, split


class MLP(nn.Module):
    """Pixels to one logit through hidden layers with ReLU and dropout.

    The paper's is 12288-128-64-1 for 64x64 RGB photos; its sigmoid belongs to the loss and to the decision here.

    Shapes: float [B, 3, rows * height, columns * width] in [0, 1] to float [B], the worst tile's logit.

    >>> network = MLP(shape=(64, 64), hidden=(128, 64), dropout=0.5)
    >>> sum(parameter.numel() for parameter in network.parameters())
    1581313
    """

    def __init__(self, shape: tuple[int, int], hidden: Sequence[int], dropout: float, tiles: Grid = (1, 1)) -> None:
        super().__init__()
        self.tiles = tiles
        self.input = nn.Identity()
        self.layers = nn.Sequential(nn.Flatten(), *perceptron(3 * shape[0] * shape[1], hidden, dropout))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logit of P(Incorrect) for each photo."""
        return max_over_tiles(self.layers(split(self.input(image), self.tiles)), self.tiles)

    @property
    def cam_layers(self) -> list[nn.Module]:
        """The photo itself: there are no feature maps."""
        return [self.input]
