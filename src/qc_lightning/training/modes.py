"""The one place that picks the module: which one `model.mode` means, and on which data it is trained."""

from lightning.pytorch import LightningDataModule
from torch import nn

from qc_lightning.config import TrainConfig
from qc_lightning.data.datamodule import PhotoDataModule
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.models.network import Network
from qc_lightning.training.classifier import Classifier
from qc_lightning.training.closed_form import ClosedFormClassifier
from qc_lightning.training.feature_data import FeatureDataModule, FeatureStore
from qc_lightning.training.features import affordable
from qc_lightning.training.finetune import ExactHeadFirst, FineTunedClassifier
from qc_lightning.training.head import HeadSettings
from qc_lightning.training.imbalance import resolve_imbalance


def build_module(config: TrainConfig, photos: PhotoSet) -> tuple[Classifier, LightningDataModule]:
    """Pick the module that `model.mode` means, and the data that goes with it.

    Args:
        config: of the run.
        photos: decoded and split.
    """
    counts, shape, tiles = photos.counts()["train"], photos.decode.tile, config.data.grid
    settings = HeadSettings.from_config(config)
    if config.model.frozen:
        solved = ClosedFormClassifier(affordable(config.model, sum(counts)), config.optim, shape, tiles, settings)
        return solved, FeatureDataModule(_store(config, photos, solved))
    balanced = resolve_imbalance(config.imbalance, counts) == "sampler"
    if config.model.pretrained:
        tuned = FineTunedClassifier(config.model, config.optim, shape, config.imbalance, counts, tiles)
        tuned.first = ExactHeadFirst(_store(config, photos, tuned), settings)
        return tuned, PhotoDataModule(photos, config.data.batch_size, config.augment, config.seed, balanced)
    module = Classifier(config.model, config.optim, shape, config.imbalance, counts, tiles)
    least = 2 if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules()) else 1
    return module, PhotoDataModule(photos, config.data.batch_size, config.augment, config.seed, balanced, least)


def _store(config: TrainConfig, photos: PhotoSet, module: Classifier) -> FeatureStore:
    assert isinstance(module.network, Network)
    return FeatureStore(photos, module.network, config)
