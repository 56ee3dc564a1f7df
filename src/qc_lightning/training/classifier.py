"""The LightningModule: the network, binary cross-entropy on its logit, Adam, and the figures of each epoch."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MetricCollection

from qc_lightning.config import ModelConfig, OptimConfig
from qc_lightning.data.datamodule import Batch
from qc_lightning.data.photo import SUBSETS
from qc_lightning.metrics.compute import binary_metrics
from qc_lightning.models.registry import build_network
from qc_lightning.training import finetune as schedule
from qc_lightning.training.imbalance import build_loss, resolve_imbalance

Scored = tuple[Tensor, Tensor, Tensor]
"""Positions, logits and labels of some photos, each [n]."""
# small tensors that live until the end of the epoch lie between the large ones of the steps and keep what these have
# freed from being used again: 1.5 GB in an epoch of 70,000 photos
_JOINED_AFTER = 64


def _joined(seen: Sequence[Scored]) -> Scored:
    index, logit, label = (torch.cat(part) for part in zip(*seen, strict=True))
    return index, logit, label


class Classifier(LightningModule):
    """Two classes, one logit: P(Incorrect) = sigmoid(logit).

    Steps only keep their logits; loss and torchmetrics are computed from them once an epoch, because a metric's update
    costs more than this network's whole step. `scores` holds, after `trainer.test`, the logits of each subset.

    Args:
        model: the network.
        optim: the optimizer's settings.
        shape: height and width of the photos, or of a tile of them, in pixels.
        imbalance: auto | none | pos_weight | sampler | focal, see `imbalance.resolve_imbalance`.
        counts: training photos, (Correct, Incorrect); they set the class weights.
        tiles: rows and columns of tiles that the photos are cut into.
    """

    def __init__(
        self,
        model: ModelConfig,
        optim: OptimConfig,
        shape: tuple[int, int],
        imbalance: str = "none",
        counts: tuple[int, int] = (1, 1),
        tiles: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        # plain types, so that the checkpoint loads with weights_only=True
        self.save_hyperparameters({"model": asdict(model), "optim": asdict(optim), "shape": list(shape)})
        self.optim, self.finetuned = optim, model.mode == "finetune"
        self.network = build_network(model, shape, tiles=tiles)
        self.loss = build_loss(resolve_imbalance(imbalance, counts), counts)
        self.metrics = nn.ModuleDict(
            {f"of_{subset}": binary_metrics().clone(prefix=f"{subset}_") for subset in SUBSETS if subset != "train"}
        )
        # of augmented photos under dropout no other figure is worth its time, as long as a few steps of a small network
        self.metrics["of_train"] = MetricCollection({"accuracy": binary_metrics()["accuracy"]}, prefix="train_")
        self.scores: dict[str, tuple[Tensor, Tensor]] = {}
        self._seen: dict[str, list[Scored]] = defaultdict(list)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [B] for photos [B, 3, H, W] in [0, 1]."""
        logit: Tensor = self.network(image)
        return logit

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Binary cross-entropy of one batch."""
        logit = self(batch.image)
        self._keep("train", batch, logit)
        loss: Tensor = self.loss(logit, batch.label)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits of one validation batch."""
        self._keep("val", batch, self(batch.image))

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Keep the logits of one batch of the loader's subset."""
        data: Any = getattr(self.trainer, "datamodule", None)
        self._keep(data.scored[dataloader_idx] if data else "test", batch, self(batch.image))

    def on_train_epoch_end(self) -> None:
        """Log loss and metrics over the epoch's batches, as they were trained on."""
        self._log_epoch("train")

    def on_validation_epoch_end(self) -> None:
        """Log loss and metrics over the validation part."""
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        """Log the test part's metrics and gather every subset's logits into `scores`."""
        for subset in list(self._seen):
            index, logit, _ = _joined(self._seen[subset])
            if subset == "test":
                self._log_epoch(subset)
            self.scores[subset] = self._gather(index, logit)
        self._seen.clear()

    def setup(self, stage: str) -> None:
        """Before fine-tuning, and before the processes agree on what they learn, fix what stays pretrained."""
        if stage == "fit" and self.finetuned:
            network: Any = self.network
            schedule.fix_the_rest(network.backbone, network.stage_parameters())

    def configure_optimizers(self) -> Any:
        """Adam; fused (one kernel for all weights) except under float16, whose gradient scaler cannot clip with it.

        Fine-tuning moves the head and the later stages by `schedule.groups` and `schedule.warm_cosine`.
        """
        fused = not str(self.trainer.precision).startswith("16")
        parameters: Any = self.parameters()
        if self.finetuned:
            network: Any = self.network
            stages = schedule.learning(network.stage_parameters())
            parameters = schedule.groups(network.head.parameters(), stages, self.optim.lr)
        adam = torch.optim.Adam(parameters, lr=self.optim.lr, weight_decay=self.optim.weight_decay, fused=fused)
        if not self.finetuned:
            return adam
        steps = int(self.trainer.estimated_stepping_batches)
        return [adam], [{"scheduler": schedule.warm_cosine(adam, steps), "interval": "step"}]

    def _keep(self, subset: str, batch: Batch, logit: Tensor) -> None:
        seen = self._seen[subset]
        seen.append((batch.position, logit.detach().float(), batch.label))
        if len(seen) == _JOINED_AFTER:
            seen[:] = [_joined(seen)]

    def _log_epoch(self, subset: str) -> None:
        if not self._seen[subset]:
            return
        _, logit, label = _joined(self._seen.pop(subset))
        loss = nn.functional.binary_cross_entropy_with_logits(logit, label)
        metrics: Any = self.metrics[f"of_{subset}"]
        assert isinstance(metrics, MetricCollection)
        metrics.update(torch.sigmoid(logit), label.round().long())
        show = subset != "test"
        self.log(f"{subset}_loss", loss, batch_size=len(label), sync_dist=True, prog_bar=show)
        self.log_dict(metrics.compute(), sync_dist=False)
        metrics.reset()

    def _gather(self, index: Tensor, logit: Tensor) -> tuple[Tensor, Tensor]:
        """All processes' photos, in catalog order: shares may differ in length, so they travel as objects."""
        if self.trainer.world_size > 1:
            shares: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(shares, (index.cpu(), logit.cpu()))
            index, logit = (torch.cat([share[part] for share in shares]) for part in (0, 1))
        order = torch.argsort(index.cpu())
        return index.cpu()[order], logit.cpu()[order]
