"""The LightningDataModule of a closed-form head: features of a pretrained network instead of photos."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qc_lightning.config import TrainConfig
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.models.network import Network
from qc_lightning.training.cluster_features import FeatureCluster
from qc_lightning.training.feature_cache import FeatureCache
from qc_lightning.training.feature_memory import room_for
from qc_lightning.training.features import extract_features
from qc_lightning.training.head import TrainingFeatures

_AT_ONCE = 4096  # photos whose features are in memory at a time, except in a fit


class FeatureBatch(NamedTuple):
    """Features of photos of a subset.

    Attributes:
        features: float32 [n, tiles, width].
        label: float32 [n], 1 for Incorrect.
        position: int64 [n], index of each photo in the dataset.
    """

    features: Tensor
    label: Tensor
    position: Tensor


class FeatureStore:
    """Features of a dataset under a network, computed on first use and cached on disk.

    Args:
        photos: decoded photos.
        network: the pretrained network.
        config: of the run.
        keep: whether to cache them on disk.
    """

    def __init__(self, photos: PhotoSet, network: Network, config: TrainConfig, keep: bool = True) -> None:
        self.photos, self._network = photos, network
        self._copies, self._augment = config.model.copies, config.augment
        self._cluster: FeatureCluster | None = None
        if config.engine == "ray":
            self._cluster = FeatureCluster(config.ray, photos.photos, photos.decode)
        keep = keep and config.data.cache == "disk"
        self._cache = FeatureCache(Path(config.data.cache_dir).expanduser() / "features") if keep else None

    def extract(self, positions: npt.NDArray[np.int64], device: torch.device, copy: int = 0) -> Tensor:
        """Features of these photos, or of a numbered augmented copy of each: float32 [n, tiles, width] on the CPU."""
        learning, cluster = self._network.training, self._cluster
        device = cluster.device if cluster else device
        network = self._network.eval() if cluster else self._network.eval().to(device)
        elsewhere = partial(cluster.compute, network, copy, self._augment) if cluster else None
        features = extract_features(
            network, self.photos, positions, device, self._cache, copy, self._augment, elsewhere=elsewhere
        )
        self._network.train(learning)
        return features

    def training(self, device: torch.device, computed: Tensor | None = None) -> TrainingFeatures:
        """The training photos and their copies.

        Args:
            device: where to compute.
            computed: features of all photos without copies, if already computed.
        """
        positions = self.photos.indices("train")
        plain = self.extract(positions, device) if computed is None else computed
        position, times = torch.from_numpy(positions), 1 + self._copies
        folder = self._cache.folder if self._cache else None
        features = room_for((times, len(positions), *plain.shape[1:]), plain.dtype, folder)
        torch.index_select(plain, 0, torch.arange(len(plain)) if computed is None else position, out=features[0])
        for number in range(1, times):
            features[number] = self.extract(positions, device, number)
        return TrainingFeatures(features, [self.photos.photos[position] for position in positions], position)


class FeatureDataModule(LightningDataModule):
    """Features instead of photos; all training photos with their augmented copies are one batch.

    Args:
        store: the features.
    """

    def __init__(self, store: FeatureStore) -> None:
        super().__init__()
        self.store = store
        self._features: Tensor | None = None

    @property
    def features(self) -> Tensor:
        """Features of all photos, float32 [n, tiles, width]; computed on the first call."""
        if self._features is None:
            everything = np.arange(len(self.store.photos.photos))
            self._features = self.store.extract(everything, self._device)
        return self._features

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")

    def train_dataloader(self) -> DataLoader[TrainingFeatures]:
        """One batch of the training photos and their copies."""
        return _loader(_Training(partial(self.store.training, self._device, self.features)))

    def val_dataloader(self) -> list[DataLoader[FeatureBatch]]:
        """The validation photos; an empty list without a validation part."""
        return self._loaders("val")

    def test_dataloader(self) -> list[DataLoader[FeatureBatch]]:
        """The test photos."""
        return self._loaders("test")

    def predict_dataloader(self) -> list[DataLoader[FeatureBatch]]:
        """The training photos, then the validation photos if there are any."""
        return self._loaders("train", "val")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the features on the CPU, where the head is fitted and applied."""
        return batch

    def _loaders(self, *subsets: str) -> list[DataLoader[FeatureBatch]]:
        photos = self.store.photos
        of_subsets = [positions for subset in subsets if len(positions := photos.indices(subset))]
        return [_loader(_Batches(self.features, photos.labels, positions)) for positions in of_subsets]


class _Training(Dataset[TrainingFeatures]):
    """The one batch of a training, computed when it is asked for: nobody keeps its memory afterwards."""

    def __init__(self, compute: Callable[[], TrainingFeatures]) -> None:
        self._compute = compute

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> TrainingFeatures:
        return self._compute()


class _Batches(Dataset[FeatureBatch]):
    """Some photos of a set, a few thousand at a time."""

    def __init__(self, features: Tensor, labels: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> None:
        self._features, self._labels = features, labels
        self._parts = np.array_split(positions, -(-len(positions) // _AT_ONCE))

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> FeatureBatch:
        part = self._parts[index]
        label = torch.from_numpy(self._labels[part]).float()
        return FeatureBatch(self._features[part], label, torch.from_numpy(part))


def _loader(batches: Any) -> DataLoader[Any]:
    # its own generator keeps the loader from drawing its seed out of torch's global stream
    return DataLoader(batches, batch_size=None, generator=torch.Generator())
