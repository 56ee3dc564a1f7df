"""The LightningDataModule of a closed-form head: features of a pretrained network in place of photos."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from qc_lightning.config import TrainConfig
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.models.network import Network
from qc_lightning.training.features import extract_features
from qc_lightning.training.head import TrainingFeatures


class FeatureBatch(NamedTuple):
    """Features of all photos of a subset.

    Attributes:
        features: float32 [n, tiles, width].
        label: float32 [n], 1 for Incorrect.
        position: int64 [n], where each photo stands in the photo set.
    """

    features: Tensor
    label: Tensor
    position: Tensor


class FeatureStore:
    """Features of a photo set under a network, computed when they are first asked for and kept on disk.

    Args:
        photos: decoded photos.
        network: the pretrained network.
        config: of the run.
    """

    def __init__(self, photos: PhotoSet, network: Network, config: TrainConfig) -> None:
        self.photos, self._network = photos, network
        self._copies, self._augment = config.model.copies, config.augment
        self._folder = Path(config.data.cache_dir).expanduser() / "features" if config.data.cache == "disk" else None

    def extract(self, positions: npt.NDArray[np.int64], device: torch.device, copy: int = 0) -> Tensor:
        """Features of these photos, or of a numbered augmented copy of each: float32 [n, tiles, width] on the CPU."""
        learning = self._network.training
        network = self._network.eval().to(device)
        features = extract_features(network, self.photos, positions, device, self._folder, copy, self._augment)
        self._network.train(learning)
        return features

    def training(self, device: torch.device, plain: Tensor | None = None) -> TrainingFeatures:
        """The training photos and their copies.

        Args:
            device: where to compute.
            plain: features of the photos without the copies, float32 [n, tiles, width], where they have been computed.
        """
        positions = self.photos.indices("train")
        plain = self.extract(positions, device) if plain is None else plain
        copies = [self.extract(positions, device, number) for number in range(1, 1 + self._copies)]
        photos = [self.photos.photos[position] for position in positions]
        return TrainingFeatures(torch.stack([plain, *copies]), photos, torch.from_numpy(positions))


class FeatureDataModule(LightningDataModule):
    """One batch a subset; the training batch has the augmented copies too.

    Args:
        store: of the features.
    """

    def __init__(self, store: FeatureStore) -> None:
        super().__init__()
        self.store = store
        self._features: Tensor | None = None

    @property
    def features(self) -> Tensor:
        """Features of all photos of the set, float32 [n, tiles, width]; computed at the first call."""
        if self._features is None:
            everything = np.arange(len(self.store.photos.photos))
            self._features = self.store.extract(everything, self._device)
        return self._features

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")

    def train_dataloader(self) -> DataLoader[TrainingFeatures]:
        """One batch of the training photos and their copies."""
        plain = self.features[self.store.photos.indices("train")]
        return _loader(self.store.training(self._device, plain))

    def val_dataloader(self) -> list[DataLoader[FeatureBatch]]:
        """One batch of the validation photos; an empty list without a validation part."""
        return self._loaders("val")

    def test_dataloader(self) -> list[DataLoader[FeatureBatch]]:
        """One batch of the test photos."""
        return self._loaders("test")

    def predict_dataloader(self) -> list[DataLoader[FeatureBatch]]:
        """One batch of the training photos, one of the validation photos if there are any."""
        return self._loaders("train", "val")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the features on the CPU, where the head is fitted and asked."""
        return batch

    def _loaders(self, *subsets: str) -> list[DataLoader[FeatureBatch]]:
        photos = self.store.photos
        of_subsets = [positions for subset in subsets if len(positions := photos.indices(subset))]
        return [
            _loader(
                FeatureBatch(
                    self.features[positions],
                    torch.from_numpy(photos.labels[positions]).float(),
                    torch.from_numpy(positions),
                )
            )
            for positions in of_subsets
        ]


def _loader(batch: Any) -> DataLoader[Any]:
    # its own generator keeps the loader from drawing its seed out of torch's global stream
    return DataLoader([batch], batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]
