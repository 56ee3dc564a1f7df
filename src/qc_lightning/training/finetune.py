"""Fine-tuning: starting point, trainable stages, and learning rates with warm-up and cosine decay."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.perceptron import PerceptronHead
from qc_lightning.models.network import Network
from qc_lightning.training.classifier import Classifier
from qc_lightning.training.feature_data import FeatureStore
from qc_lightning.training.head import HeadSettings, fit_head

FALL = 0.8  # the last stage has the head's learning rate, each earlier one this fraction of the next one's
WARM_UP = 0.1  # fraction of the training for the warm-up


class FineTunedClassifier(Classifier):
    """Trains the head and the later half of a pretrained network's stages, earlier stages more slowly.

    Attributes:
        first: callback before the training, `ExactHeadFirst` in a run.
    """

    first: Callback | None = None

    def configure_callbacks(self) -> list[Callback]:
        """Register `first` with any Trainer."""
        return [] if self.first is None else [self.first]

    def setup(self, stage: str) -> None:
        """Freeze the pretrained part before the processes synchronise their parameters."""
        if stage == "fit":
            network: Any = self.network
            fix_the_rest(network.backbone, network.stage_parameters())

    def configure_optimizers(self) -> Any:
        """The optimizer of the `groups` with the schedule `warm_cosine`."""
        network: Any = self.network
        stages = learning(network.stage_parameters())
        optimizer = self.optimizer(groups(network.head.parameters(), stages, self.optim.lr))
        steps = int(self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": warm_cosine(optimizer, steps), "interval": "step"}]


class ExactHeadFirst(Callback):
    """Fit the head as for a frozen network before fine-tuning starts.

    An untrained head would otherwise distort the pretrained stages (Kumar et al. 2022).

    Args:
        store: features of the training photos.
        settings: for fitting the head.
    """

    def __init__(self, store: FeatureStore, settings: HeadSettings) -> None:
        self.store, self.settings = store, settings

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fit the head, unless a checkpoint will be loaded."""
        if stage == "fit" and trainer.ckpt_path is None:
            network: Any = pl_module.network
            assert isinstance(network, Network)
            features = self.store.training(trainer.strategy.root_device)
            head = network.head.cpu()
            assert isinstance(head, FittedHead | PerceptronHead)
            fit_head(head, features, self.settings)
            network.train()


def learning(stages: Sequence[list[nn.Parameter]]) -> Sequence[list[nn.Parameter]]:
    """The trainable later half of the stages, the last one first; the earlier ones stay pretrained.

    Early stages see edges and textures, which are similar in all photos, and training them takes longer.
    """
    return stages[: max(1, len(stages) // 2)]


def fix_the_rest(backbone: nn.Module, stages: Sequence[list[nn.Parameter]]) -> None:
    """Freeze all of a backbone's stages except the `learning` ones, and the statistics of all batch norms.

    The head was fitted to features with those statistics.
    """
    for stage in stages[len(learning(stages)) :]:
        for parameter in stage:
            parameter.requires_grad_(False)
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()  # Lightning leaves it so: it restores each module's own mode after a validation


def groups(head: Iterable[nn.Parameter], stages: Sequence[Sequence[nn.Parameter]], lr: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: the head, then the stages from last to first with falling learning rates."""
    slower = [{"params": list(stage), "lr": lr * FALL**place} for place, stage in enumerate(stages)]
    return [{"params": list(head), "lr": lr}, *slower]


def warm_cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """The same schedule for all `groups`: linear warm-up, then cosine decay.

    The head has been fitted to the pretrained stages. Unfreezing them one after the other (ULMFiT, 2018)
    was tried too: on ELPV the training loss rose whenever one joined.

    Args:
        optimizer: of the groups.
        steps: of the complete training.
    """
    return torch.optim.lr_scheduler.LambdaLR(optimizer, partial(factor, steps=steps))


def factor(step: int, steps: int) -> float:
    """Factor of the learning rate at a step: linear warm-up, then cosine decay to 0.

    Args:
        step: from 0.
        steps: of the complete training.

    >>> [round(factor(step, 100), 2) for step in (0, 4, 9, 10, 52, 100)]
    [0.1, 0.5, 0.98, 0.98, 0.47, 0.0]
    """
    rising = min(1.0, (step + 1) / (WARM_UP * steps))
    return rising * (1 + math.cos(math.pi * min(1.0, step / steps))) / 2
