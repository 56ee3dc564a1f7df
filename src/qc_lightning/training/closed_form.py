"""The LightningModule of a head that is solved exactly instead of trained step by step."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from qc_lightning.config import ModelConfig, OptimConfig
from qc_lightning.core.errors import UserError
from qc_lightning.evaluation.measure import SubsetLogits
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.perceptron import PerceptronHead
from qc_lightning.models.network import Network
from qc_lightning.models.tiles import Grid, max_over_tiles
from qc_lightning.training.classifier import Classifier
from qc_lightning.training.feature_data import FeatureBatch
from qc_lightning.training.head import HeadSettings, TrainingFeatures, fit_head


class ClosedFormClassifier(Classifier):
    """Solves the head of a frozen pretrained network in a single step.

    Needs a `FeatureDataModule`. Without a validation part it uses out-of-fold logits of the training photos: each
    from a head that has not seen the photo or its group.

    Args:
        model: the network.
        optim: stored in the checkpoint; used to fit hidden layers of the head.
        shape: height and width of the photos, or of a tile of them, in pixels.
        tiles: rows and columns of tiles that the photos are cut into.
        settings: for fitting the head.

    Attributes:
        out_of_fold: float32 [n], logits of the training photos in the order of the dataset; None before the fit and if
            a class has too few groups for cross-validation.
        head_record: the selected head and the metrics of the candidates, for metrics.json; None for hidden layers and
            before the fit.
    """

    def __init__(
        self, model: ModelConfig, optim: OptimConfig, shape: tuple[int, int], tiles: Grid, settings: HeadSettings
    ) -> None:
        super().__init__(model, optim, shape, tiles=tiles)
        self.settings = settings
        self.automatic_optimization = False
        self.out_of_fold: Tensor | None = None
        self.head_record: dict[str, Any] | None = None
        self._restored = False
        self._answered: tuple[bytes, Tensor] | None = None

    @property
    def head(self) -> FittedHead | PerceptronHead:
        """The head, on the CPU."""
        assert isinstance(self.network, Network)
        head = self.network.head.cpu()
        assert isinstance(head, FittedHead | PerceptronHead)
        return head

    def setup(self, stage: str) -> None:
        """Refuse several processes: each would solve for its own photos only.

        Raises:
            UserError: there are several.
        """
        if self.trainer.world_size > 1:
            mode = self.hparams["model"]["mode"]
            raise UserError(f"model.mode={mode} works in one process: leave out trainer=ddp")

    def configure_optimizers(self) -> None:
        """No optimizer: nothing takes gradient steps."""

    def on_fit_start(self) -> None:
        """Stop before training if the checkpoint has a solved head."""
        self.trainer.should_stop = self._restored

    def training_step(self, batch: TrainingFeatures, batch_idx: int) -> None:  # type: ignore[override]
        """Solve the head for all training photos at once."""
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            self.out_of_fold = fit_head(self.head, batch, self.settings)
            if isinstance(self.head, FittedHead):
                self.head_record = self.head.record
        plain = FeatureBatch(batch.features[0], batch.label.float(), batch.position)
        self._keep("train", plain, self.answer(plain))
        self.trainer.should_stop = True  # one epoch is all

    def answer(self, batch: FeatureBatch) -> Tensor:  # type: ignore[override]
        """Return the logits of photos by their features: one at a time, as a later prediction computes them.

        The last bits of a matrix product depend on the batch size. The training photos are requested after the fit and
        again at the end of a run; the second time the logits are reused.
        """
        assert isinstance(self.network, Network)
        head, tiles = self.head, self.network.tiles
        asked = _digest(batch.features, *head.state_dict().values())
        if self._answered is None or self._answered[0] != asked:
            logit = torch.empty(len(batch.features))
            # without gradients: a training step's graph would keep the inputs of every logit
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                for place, features in enumerate(batch.features):
                    logit[place : place + 1] = max_over_tiles(head(features), tiles)
            self._answered = asked, logit
        return self._answered[1]

    def on_train_epoch_end(self) -> None:
        """Log the metrics of the fitted head on the training photos, and out of fold without a validation part."""
        position, _, label = self._answers["train"][0]
        super().on_train_epoch_end()
        if self.out_of_fold is not None and "val_loss" not in self.trainer.callback_metrics:
            self._keep("val", FeatureBatch(self.out_of_fold, label, position), self.out_of_fold)
            self._log_epoch("val")

    def on_predict_epoch_end(self) -> None:
        """Gather the logits of the best checkpoint; out-of-fold ones replace a missing validation part."""
        super().on_predict_epoch_end()
        if self.head_record is not None:
            print(f"head, by cross-validation: {self.head_record['choice']}")
        if self.out_of_fold is not None and "val" not in self.logits:
            self.logits["val"] = SubsetLogits(self.logits["train"].position, self.out_of_fold)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the out-of-fold logits with the head."""
        checkpoint["out_of_fold"] = self.out_of_fold
        checkpoint["chosen"] = self.head_record

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the out-of-fold logits."""
        self._restored = "out_of_fold" in checkpoint
        self.out_of_fold = checkpoint.get("out_of_fold")
        self.head_record = checkpoint.get("chosen")


def _digest(*tensors: Tensor) -> bytes:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.digest()
