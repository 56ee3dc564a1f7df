"""The LightningDataModule: decoded photos as batches, shuffled and augmented for training only."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from qc_lightning.config import AugmentConfig
from qc_lightning.data.augment import augment, mixup
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.decoding.decode import scaled


class Batch(NamedTuple):
    """A batch for the network.

    Attributes:
        image: float [B, 3, H, W] in [0, 1]; uint8 until it is on its device.
        label: float [B], 1 for Incorrect; between 0 and 1 where mixup has blended photos.
        position: int64 [B], index of the photo in the dataset.
    """

    image: Tensor
    label: Tensor
    position: Tensor


class PhotoBatches(Dataset[Batch]):
    """Dataset of complete batches, indexed by the positions of their photos: one slice of the pixel store each."""

    def __init__(self, photos: PhotoSet) -> None:
        self.photos = photos
        self.labels = torch.from_numpy(photos.labels).float()

    def __getitem__(self, indices: NDArray[np.int64]) -> Batch:
        """Return the photos at `indices`, an int64 array of positions in the dataset."""
        return Batch(torch.from_numpy(self.photos.pixels(indices)), self.labels[indices], torch.from_numpy(indices))


class BatchSampler(Sampler[NDArray[np.int64]]):
    """Yields batches of positions of one subset; in a distributed training only this process's batches.

    A shuffled order depends on seed and epoch only, so a resumed run sees the same order as an uninterrupted one. Every
    process gets the same number of photos: the first few of the epoch are repeated if they do not divide evenly.
    Without a seed nothing is repeated or left out, and the processes' numbers of photos may differ by one.

    Args:
        indices: int64 [n], positions of the subset's photos in the dataset.
        batch_size: photos per batch.
        seed: of the order; None: in order.
        rank: number of this process, from 0.
        world: number of processes.
        labels: int64 [n], to draw the classes equally often, with replacement (`imbalance=sampler`); None: all once.
        least: a last batch of fewer photos joins the previous one, since a batch norm cannot use a single photo.
    """

    def __init__(
        self,
        indices: NDArray[np.int64],
        batch_size: int,
        seed: int | None,
        rank: int,
        world: int,
        labels: NDArray[np.int64] | None = None,
        least: int = 1,
    ) -> None:
        self.least = least
        self.draw_weight = None if labels is None else (1 / (2 * np.bincount(labels)))[labels]
        self.indices, self.batch_size, self.seed = indices, batch_size, seed
        self.rank, self.world = rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._starts(len(self._of_rank(self.indices)))) - 1

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        order = self.indices
        if self.seed is not None:
            draw = np.random.default_rng((self.seed, self.epoch))
            order = (
                draw.permutation(order)
                if self.draw_weight is None
                else draw.choice(order, len(order), p=self.draw_weight)
            )
        own = self._of_rank(order)
        for start, end in pairwise(self._starts(len(own))):
            yield own[start:end]

    def _starts(self, count: int) -> list[int]:
        """Start of each batch, and the end of the last one."""
        starts = list(range(0, count, self.batch_size))
        if len(starts) > 1 and count - starts[-1] < self.least:
            starts.pop()
        return [*starts, count]

    def _of_rank(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of an order; with a seed all parts have the same length."""
        if self.seed is not None and self.world > 1:
            order = np.resize(order, -(-len(order) // self.world) * self.world)
        return order[self.rank :: self.world]


class PhotoDataModule(LightningDataModule):
    """Batches of the three subsets; augmentation and scaling happen after the transfer, on the device.

    Args:
        photos: decoded and split.
        batch_size: photos per training step.
        augment: augmentation of the training photos.
        seed: of the order.
        balanced: draw each class equally often, with replacement.
        least: smallest training batch: 2 for a network with trainable batch norms.
    """

    def __init__(
        self,
        photos: PhotoSet,
        batch_size: int,
        augment: AugmentConfig,
        seed: int,
        balanced: bool = False,
        least: int = 1,
    ) -> None:
        super().__init__()
        self.least = least
        self.photos, self.batch_size, self.augment, self.seed = photos, batch_size, augment, seed
        self.balanced = balanced

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader("train", self.seed)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Validation batches in catalog order; an empty list without a validation part."""
        return self._loader("val") if len(self.photos.indices("val")) else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches in catalog order."""
        return self._loader("test")

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """Training batches, then validation batches if there are any: in catalog order, not augmented."""
        return [self._loader(subset) for subset in ("train", "val") if len(self.photos.indices(subset))]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Scale to [0, 1] and, in training, augment the batch on the device."""
        image = scaled(batch.image)
        if self.trainer is None or not self.trainer.training:
            return batch._replace(image=image)
        image, label = augment(image, self.augment), batch.label
        if self.augment.mixup:
            image, label = mixup(image, label, self.augment.mixup)
        return batch._replace(image=image, label=label)

    def _loader(self, subset: str, seed: int | None = None) -> DataLoader[Batch]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        indices = self.photos.indices(subset)
        labels = self.photos.labels[indices] if self.balanced and seed is not None else None
        least = self.least if seed is not None else 1
        sampler = BatchSampler(indices, self.batch_size, seed, rank, world, labels, least)
        # a sampler of whole batches and batch_size=None: the dataset slices, nothing is collated; the generator keeps
        # the loader from drawing its own seed out of the global stream that dropout and augmentation use
        return DataLoader(PhotoBatches(self.photos), sampler=sampler, batch_size=None, generator=torch.Generator())
