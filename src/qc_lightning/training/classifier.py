"""The LightningModule: a network, binary cross-entropy on its logit, an optimizer, and the metrics of each epoch."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MetricCollection

from qc_lightning.config import ModelConfig, OptimConfig
from qc_lightning.data.datamodule import Batch
from qc_lightning.data.photo import SUBSETS
from qc_lightning.evaluation.measure import SubsetLogits
from qc_lightning.metrics.compute import binary_metrics
from qc_lightning.models.registry import build_network
from qc_lightning.training.imbalance import build_loss, resolve_imbalance
from qc_lightning.training.optimizer import build_optimizer

# small tensors that live until the end of the epoch fragment the memory freed by the large ones of the steps: 1.5 GB
# in an epoch of 70,000 photos
_JOINED_AFTER = 64
_OF_CORRECT = ("accuracy", "specificity")  # metrics that are defined without Incorrect photos


class _Labelled(Protocol):
    """A labelled batch of photos or features."""

    @property
    def position(self) -> Tensor: ...
    @property
    def label(self) -> Tensor: ...


class _Answers(NamedTuple):
    """The network's answers on some photos: three tensors [n]."""

    position: Tensor
    logit: Tensor
    label: Tensor


def _joined(answers: Sequence[_Answers]) -> _Answers:
    return _Answers(*(torch.cat(part) for part in zip(*answers, strict=True)))


class Classifier(LightningModule):
    """A binary classifier with one logit: P(Incorrect) = sigmoid(logit).

    Steps only keep their logits; loss and metrics are computed from them once per epoch, because updating a metric
    costs more than a step of a small network.

    Args:
        model: the network's settings, or your own network: float [B, 3, H, W] in [0, 1] to logits [B].
        optim: the optimizer's settings.
        shape: height and width of the photos, or of a tile of them, in pixels.
        imbalance: auto | none | pos_weight | sampler | focal, see `imbalance.resolve_imbalance`.
        counts: training photos, (Correct, Incorrect); they set the class weights.
        tiles: rows and columns of tiles that the photos are cut into.

    Attributes:
        threshold: on P(Incorrect), for the test metrics; a run sets its decision's threshold before the test. The
            epochs use 0.5.
        logits: of each subset that `trainer.predict` (train, val) or `trainer.test` (test) has visited.
    """

    def __init__(
        self,
        model: ModelConfig | nn.Module,
        optim: OptimConfig,
        shape: tuple[int, int],
        imbalance: str = "none",
        counts: tuple[int, int] = (1, 1),
        tiles: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        # plain types, so that the checkpoint loads with weights_only=True
        settings = None if isinstance(model, nn.Module) else asdict(model)
        self.save_hyperparameters({"model": settings, "optim": asdict(optim), "shape": list(shape)})
        self.optim = optim
        self.network = model if isinstance(model, nn.Module) else build_network(model, shape, tiles=tiles)
        self.loss = build_loss(resolve_imbalance(imbalance, counts), counts)
        self.threshold = 0.5
        # on augmented photos under dropout no other metric justifies its cost of a few steps of a small network
        accuracy = MetricCollection({"accuracy": binary_metrics()["accuracy"]})
        self.metrics = nn.ModuleDict({"train_": accuracy, "val_": binary_metrics()})
        self.logits: dict[str, SubsetLogits] = {}
        self._answers: dict[str, list[_Answers]] = defaultdict(list)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [B] for photos [B, 3, H, W] in [0, 1]."""
        logit: Tensor = self.network(image)
        return logit

    def answer(self, batch: Batch) -> Tensor:
        """Return the logits [B] of a batch."""
        logit: Tensor = self(batch.image)
        return logit

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        logit = self.answer(batch)
        self._keep("train", batch, logit)
        loss: Tensor = self.loss(logit, batch.label)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits of one validation batch."""
        self._keep("val", batch, self.answer(batch))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits of one test batch."""
        self._keep("test", batch, self.answer(batch))

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Return and keep the logits of one batch of the training or validation part."""
        logit = self.answer(batch)
        self._keep(SUBSETS[dataloader_idx], batch, logit)
        return logit

    def on_train_epoch_end(self) -> None:
        """Log loss and accuracy over the epoch's training batches."""
        self._log_epoch("train")

    def on_validation_epoch_end(self) -> None:
        """Log loss and metrics over the validation part."""
        self._log_epoch("val")

    def on_test_epoch_start(self) -> None:
        """Use the decision's threshold, which has been set by now."""
        self.metrics["test_"] = binary_metrics(self.threshold).to(self.device)

    def on_test_epoch_end(self) -> None:
        """Log the test part's metrics and gather its logits."""
        self.logits["test"] = self._gathered("test")
        self._log_epoch("test")

    def on_predict_epoch_start(self) -> None:
        """Clear the answers of an interrupted epoch."""
        self._answers.clear()

    def on_predict_epoch_end(self) -> None:
        """Gather the logits of the training and the validation part."""
        for subset, _ in zip(SUBSETS, self.trainer.num_predict_batches, strict=False):
            self.logits[subset] = self._gathered(subset)
        self._answers.clear()

    def configure_optimizers(self) -> Any:
        """The optimizer of all weights."""
        return self.optimizer(self.parameters())

    def optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        """The configured optimizer of these parameters or parameter groups."""
        return build_optimizer(self.optim, parameters, fused="mixed" not in str(self.trainer.precision))

    def _keep(self, subset: str, batch: _Labelled, logit: Tensor) -> None:
        answers = self._answers[subset]
        answers.append(_Answers(batch.position, logit.detach().float(), batch.label))
        if len(answers) == _JOINED_AFTER:
            answers[:] = [_joined(answers)]

    def _log_epoch(self, subset: str) -> None:
        if not self._answers[subset]:
            return
        _, logit, label = _joined(self._answers.pop(subset))
        loss = nn.functional.binary_cross_entropy_with_logits(logit, label)
        metrics: Any = self.metrics[f"{subset}_"]
        if not label.round().any():
            metrics = MetricCollection({name: metrics[name] for name in _OF_CORRECT if name in metrics})
        metrics.update(torch.sigmoid(logit), label.round().long())
        values = metrics.compute()
        metrics.reset()
        if subset == "val":
            rates = {"escape_rate": "recall", "overkill_rate": "specificity"}
            values |= {rate: 1 - values[name] for rate, name in rates.items() if name in values}
        self.log(f"{subset}_loss", loss, batch_size=len(label), sync_dist=True, prog_bar=subset != "test")
        self.log_dict({f"{subset}_{name}": figure for name, figure in values.items()}, sync_dist=False)

    def _gathered(self, subset: str) -> SubsetLogits:
        """All processes' photos, in catalog order: their parts may differ in length, so they travel as objects."""
        # a process may have no photos of a small subset
        nothing = _Answers(torch.empty(0, dtype=torch.int64), torch.empty(0), torch.empty(0))
        position, logit, _ = _joined(self._answers[subset]) if self._answers[subset] else nothing
        if self.trainer.world_size > 1:
            parts: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, (position.cpu(), logit.cpu()))
            position, logit = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        order = torch.argsort(position.cpu())
        return SubsetLogits(position.cpu()[order], logit.cpu()[order])
