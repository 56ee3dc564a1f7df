"""The LightningModule that fine-tunes two stages under the patches of a pretrained network.

The frozen network's head is fitted first and kept. Copies of two stages and a linear unit on their patches start at
that head's patches and are trained. Their logit is added to the head's at the weight that cross-validation selects: for
each fold, another tail is trained on the photos outside it.
"""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from qc_lightning.config import ModelConfig, OptimConfig
from qc_lightning.models.backbones import TimmBackbone
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.linear import Folds, class_weights
from qc_lightning.models.heads.patches import highest
from qc_lightning.models.network import FLIPS, Network
from qc_lightning.models.tail import Tail
from qc_lightning.models.tiles import Grid
from qc_lightning.training.closed_form import ClosedFormClassifier
from qc_lightning.training.feature_data import FeatureBatch, FeatureStore
from qc_lightning.training.finetune import warm_cosine
from qc_lightning.training.head import HeadSettings, TrainingFeatures, fit_head
from qc_lightning.training.tail_data import TailBatch

FOLDS = 3
_SOFT = 0.05  # label smoothing: distance of the targets from 0 and 1
_BETAS = (0.9, 0.99)  # of Adam: a training has a few hundred steps


class TailClassifier(ClosedFormClassifier):
    """Fine-tunes the tail of a network for `model.mode=tail`; needs a `TailDataModule`.

    Args:
        model: the network.
        optim: the optimizer's settings; a tensor's learning rate is `optim.lr` times the size of its weights.
        shape: height and width of the photos in pixels.
        tiles: 1 x 1.
        settings: for fitting the frozen network's head.
        store: features of the training photos under the frozen network.
        frozen: that network, for its head.
        fold: the fold of each training photo, numbered from 0 without gaps.
    """

    def __init__(
        self,
        model: ModelConfig,
        optim: OptimConfig,
        shape: tuple[int, int],
        tiles: Grid,
        settings: HeadSettings,
        store: FeatureStore,
        frozen: Network,
        fold: Sequence[int],
    ) -> None:
        super().__init__(model, optim, shape, tiles, settings)
        self.automatic_optimization = True
        self._store, self._fold = store, torch.tensor(fold)
        self.frozen = cast(FittedHead, frozen.head)
        assert isinstance(self.network, Network)
        self._views = self.network.views
        own = cast(Tail, cast(TimmBackbone, self.network.backbone).tail)
        self.tails = nn.ModuleList([copy.deepcopy(own) for _ in range(max(fold) + 1)])
        self.requires_grad_(False)
        for tail in self._all_tails:
            tail.learn()
        self._frozen_score = torch.empty(0)
        self._held = torch.empty(0)

    @property
    def _all_tails(self) -> list[Tail]:
        own = cast(TimmBackbone, cast(Network, self.network).backbone).tail
        return [cast(Tail, tail) for tail in (*self.tails, own)]

    def setup(self, stage: str) -> None:
        """Fit the frozen network's head as the starting point, unless a checkpoint will be loaded."""
        super().setup(stage)
        if stage != "fit":
            return
        label = torch.tensor([self._store.photos.photos[at].label for at in self._store.photos.indices("train")])
        used = torch.ones(len(label), len(self.tails) + 1)
        used[torch.arange(len(label)), self._fold] = 0
        self._label, self._weight = label, class_weights(label, used)
        if self.trainer.ckpt_path is None:
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                self._begin(self._store.training(self.trainer.strategy.root_device))

    def _begin(self, features: TrainingFeatures) -> None:
        # computing the features has moved the network, and its head with it
        score = fit_head(self.frozen.cpu(), features, self.settings)
        assert score is not None, "the folds exist"
        self._frozen_score = score
        _, patches = self.frozen.split(features.features[0, :, 0])
        assert self.frozen.patches is not None
        start = copy.deepcopy(self.frozen.patches)
        group = torch.zeros(len(self._label), dtype=torch.int64)
        raw, bias = start.solve(patches, Folds(self._label, self._fold, group, balance=True))
        for column, tail in enumerate(self._all_tails):
            tail.begin(raw[:, column], bias[column] - start.mean @ raw[:, column])

    def on_fit_start(self) -> None:
        """Do nothing: the trainer takes the number of finished epochs from the checkpoint."""

    def configure_optimizers(self) -> Any:
        """The learning rate of each tensor is relative to its weights, with warm-up and cosine decay."""
        groups = [
            {"params": [weight], "lr": self.optim.lr * float(weight.detach().square().mean().sqrt()), "betas": _BETAS}
            for tail in self._all_tails
            for weight in tail.parameters()
            if weight.requires_grad
        ]
        optimizer = self.optimizer(groups)
        schedule = warm_cosine(optimizer, int(self.trainer.estimated_stepping_batches))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def training_step(self, batch: TailBatch, batch_idx: int) -> Tensor:  # type: ignore[override]
        """Return the loss of one batch for one of the tails; metrics are kept for the tail trained on all photos."""
        tail = self._all_tails[batch.model]
        logit = highest(tail(_floats(batch.maps[:, 0])).flatten(1))
        if batch.model == len(self.tails):
            self._keep("train", batch, logit)
        target = batch.label * (1 - 2 * _SOFT) + _SOFT
        loss = nn.functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
        return (loss * self._weight[batch.place.cpu(), batch.model].to(loss)).mean()

    def on_validation_epoch_start(self) -> None:
        """Clear the out-of-fold answers."""
        self._held = torch.full((len(self._label),), torch.nan)

    def validation_step(self, batch: TailBatch, batch_idx: int) -> None:  # type: ignore[override]
        """Keep the answers of a fold's tail on its held-out photos."""
        tail, flips = self._all_tails[batch.model], FLIPS[: self._views]
        scores = [tail(_floats(batch.maps[:, view])).flip(axes) for view, axes in enumerate(flips)]
        self._held[batch.place.cpu()] = highest(torch.stack(scores).mean(0).flatten(1)).float().cpu()

    def on_validation_epoch_end(self) -> None:
        """Choose the tail's weight, and log the out-of-fold metrics of the sum."""
        if self._held.isnan().any():  # a sanity check, or part of the photos
            return
        assert isinstance(self.head, FittedHead)
        self.out_of_fold = self.head.combine(self.frozen.cpu(), self._frozen_score, self._held, self._label)
        self.head_record = self.head.record
        position = torch.from_numpy(self._store.photos.indices("train"))
        plain = FeatureBatch(self.out_of_fold, self._label.float(), position)
        self._keep("val", plain, self.out_of_fold)
        super().on_validation_epoch_end()

    def on_train_epoch_end(self) -> None:
        """Log the metrics of the training; those out of fold are logged with the validation."""
        self._log_epoch("train")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the frozen head's out-of-fold logits too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["frozen_score"] = self._frozen_score

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them."""
        super().on_load_checkpoint(checkpoint)
        self._frozen_score = checkpoint["frozen_score"]


def _floats(maps: Tensor) -> Tensor:
    return maps.float().contiguous(memory_format=torch.channels_last)
