"""The paper's network: a multilayer perceptron on the pixels."""

from collections.abc import Sequence

from torch import Tensor, nn


class MLP(nn.Module):
    """Pixels to one logit through hidden layers with ReLU and dropout.

    The paper's is 12288-128-64-1 for 64x64 RGB photos; its sigmoid belongs to the loss and to the decision here.

    Shapes: float [B, 3, image_size, image_size] in [0, 1] to float [B].

    >>> network = MLP(image_size=64, hidden=(128, 64), dropout=0.5)
    >>> sum(parameter.numel() for parameter in network.parameters())
    1581313
    """

    def __init__(self, image_size: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = 3 * image_size * image_size
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), nn.ReLU(), nn.Dropout(dropout)]
            width = next_width
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logit of P(Incorrect) for each photo."""
        logit: Tensor = self.layers(image)
        return logit.squeeze(-1)
