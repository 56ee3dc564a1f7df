"""Select the LightningModule and the DataModule for `model.mode`."""

from dataclasses import replace

import numpy as np
from lightning.pytorch import LightningDataModule, seed_everything
from torch import nn

from qc_lightning.config import TrainConfig
from qc_lightning.core.errors import UserError
from qc_lightning.data.datamodule import PhotoDataModule
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.split import folds
from qc_lightning.models.backbones import TimmBackbone
from qc_lightning.models.heads.linear import FEW
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from qc_lightning.training.classifier import Classifier
from qc_lightning.training.closed_form import ClosedFormClassifier
from qc_lightning.training.feature_data import FeatureDataModule, FeatureStore
from qc_lightning.training.features import MOST_WITH_PATCHES, affordable
from qc_lightning.training.finetune import ExactHeadFirst, FineTunedClassifier
from qc_lightning.training.head import HeadSettings
from qc_lightning.training.imbalance import resolve_imbalance
from qc_lightning.training.tail import FOLDS, TailClassifier
from qc_lightning.training.tail_data import TailDataModule


def build_module(config: TrainConfig, photos: PhotoSet) -> tuple[Classifier, LightningDataModule]:
    """Build the module for `model.mode` and the data for it.

    Args:
        config: of the run.
        photos: decoded and split.
    """
    seed_everything(config.seed, verbose=False)  # seeds the initial weights
    counts, shape, tiles = photos.counts()["train"], photos.decode.tile, config.data.grid
    settings = HeadSettings.from_config(config)
    if config.model.frozen:
        model = replace(affordable(config.model, sum(counts)), distance=config.model.distance or counts[1] < FEW)
        solved = ClosedFormClassifier(model, config.optim, shape, tiles, settings)
        return solved, FeatureDataModule(_store(config, photos, solved))
    if config.model.tail:
        return _build_tail(config, photos, settings)
    balanced = resolve_imbalance(config.imbalance, counts) == "sampler"
    if config.model.pretrained:
        tuned = FineTunedClassifier(config.model, config.optim, shape, config.imbalance, counts, tiles)
        tuned.first = ExactHeadFirst(_store(config, photos, tuned), settings)
        return tuned, PhotoDataModule(photos, config.data.batch_size, config.augment, config.seed, balanced)
    module = Classifier(config.model, config.optim, shape, config.imbalance, counts, tiles)
    least = 2 if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules()) else 1
    return module, PhotoDataModule(photos, config.data.batch_size, config.augment, config.seed, balanced, least)


def _build_tail(config: TrainConfig, photos: PhotoSet, settings: HeadSettings) -> tuple[TailClassifier, TailDataModule]:
    positions, instead = photos.indices("train"), "experiment=recommended works"
    fold = folds([photos.photos[at] for at in positions], FOLDS, config.seed)
    if len(photos.indices("val")):
        raise UserError("model.mode=tail is cross-validated and takes no validation part: data.split.val=0")
    if len(positions) > MOST_WITH_PATCHES:
        raise UserError(
            f"model.mode=tail: expected at most {MOST_WITH_PATCHES} training photos, got {len(positions)}: {instead}"
        )
    if not any(fold):
        raise UserError(
            f"model.mode=tail: expected photos of both classes in at least 2 folds of groups, got too few: {instead}"
        )
    model = replace(config.model, distance=config.model.distance or photos.counts()["train"][1] < FEW)
    frozen = build_network(replace(model, mode="frozen"), photos.decode.tile)
    assert isinstance(frozen, Network)
    store = FeatureStore(photos, frozen, config)
    shape, tiles = photos.decode.tile, config.data.grid
    module = TailClassifier(model, config.optim, shape, tiles, settings, store, frozen, fold)
    network = module.network
    assert isinstance(network, Network)
    assert isinstance(network.backbone, TimmBackbone)
    features = FeatureStore(photos, network, config, keep=False)
    views, size = config.model.views, config.data.batch_size
    return module, TailDataModule(features, network.backbone, np.array(fold), size, config.seed, views)


def _store(config: TrainConfig, photos: PhotoSet, module: Classifier) -> FeatureStore:
    assert isinstance(module.network, Network)
    return FeatureStore(photos, module.network, config)
