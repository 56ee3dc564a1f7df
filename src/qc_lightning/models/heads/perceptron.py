"""The paper's hidden layers with ReLU and dropout, as a head on the features of a pretrained network."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qc_lightning.core.bars import Progress
from qc_lightning.models.heads.linear import FeatureScaler
from qc_lightning.models.tiles import max_over_tiles


def perceptron(width: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Layers from `width` features to one logit, ReLU and dropout after each hidden layer."""
    layers: list[nn.Module] = []
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), nn.ReLU(), nn.Dropout(dropout)]
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, 1))


class Schedule(NamedTuple):
    """Settings of the training.

    Attributes:
        optimizer: builds it for the weights.
        epochs: how often each photo is seen.
        batch_size: photos a step.
        seed: of the first weights, the order and dropout.
    """

    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    epochs: int
    batch_size: int
    seed: int


class PerceptronHead(FeatureScaler):
    """A perceptron on standardised features.

    Shapes: float [B, width] to float [B, 1].
    """

    def __init__(self, width: int, hidden: Sequence[int], dropout: float, clip: float = math.inf) -> None:
        super().__init__(width, clip)
        self.layers = perceptron(width, hidden, dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        logit: Tensor = self.layers(self._scaled(features))
        return logit

    def fit(
        self, features: Tensor, label: Tensor, fold: npt.NDArray[np.int64], loss: nn.Module, schedule: Schedule
    ) -> Tensor:
        """Fit to training photos and return their out-of-fold logits.

        Args:
            features: float [n, tiles, width]; the highest logit of a photo's tiles is the photo's.
            label: int [n], 1 for Incorrect.
            fold: int [n], the cross-validation fold of each photo, from 0 without gaps.
            loss: of logits [B] and labels [B].
            schedule: how the weights are moved.

        Returns:
            Out-of-fold logits, float32 [n]: photo i's from the fit to all folds but `fold[i]`.
        """
        self.adapt(features.flatten(0, 1))
        x, target, photo_fold = self._scaled(features), label.float(), torch.from_numpy(fold)
        out_of_fold = torch.empty(len(x))
        folds = int(photo_fold.max()) + 1
        for held in Progress(range(folds + 1), desc="head and its folds", delay=1.0):  # the last one holds out nothing
            _learn(self.layers, x, target, torch.nonzero(photo_fold != held).squeeze(1), loss, schedule)
            with torch.inference_mode():
                rest = photo_fold == held
                out_of_fold[rest] = max_over_tiles(self.layers(x[rest]), (1, x.shape[1]))
        return out_of_fold

    def _scaled(self, features: Tensor) -> Tensor:
        """Scale features to about 1 each, for which the layers are initialised."""
        return self.normalise(features) * math.sqrt(features.shape[-1])


def _learn(layers: nn.Sequential, x: Tensor, target: Tensor, positions: Tensor, loss: nn.Module, how: Schedule) -> None:
    """Train from new weights on some photos of x, float [n, tiles, width]; the layers end in eval mode."""
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        for layer in layers.train():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        optimizer = how.optimizer(layers.parameters())
        for _ in range(how.epochs):
            order = positions[torch.randperm(len(positions))]
            for start in range(0, len(order), how.batch_size):
                batch = order[start : start + how.batch_size]
                optimizer.zero_grad()
                loss(max_over_tiles(layers(x[batch]), (1, x.shape[1])), target[batch]).backward()
                optimizer.step()
    layers.eval()
