"""Training data of a tail: maps of the training photos under the frozen stages, computed once."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from qc_lightning.core.bars import Progress
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.decoding.decode import scaled
from qc_lightning.models.backbones import TimmBackbone
from qc_lightning.models.network import FLIPS, gpu_block
from qc_lightning.models.photo_threads import photo_threads
from qc_lightning.models.tiles import blockwise
from qc_lightning.training.feature_data import FeatureBatch, FeatureDataModule, FeatureStore

Places = npt.NDArray[np.int64]


class TailBatch(NamedTuple):
    """A batch of training photos for one of the tails.

    Attributes:
        maps: float16 [B, views, C, h, w], at an 8th of the photos' size; a random view in training.
        label: float32 [B], 1 for Incorrect.
        position: int64 [B], index of each photo in the dataset.
        place: int64 [B], where among the training photos.
        model: of the tail: that of the fold of this number, or the last one, which learns from all photos.
    """

    maps: Tensor
    label: Tensor
    position: Tensor
    place: Tensor
    model: int


class _Draw(NamedTuple):
    model: int
    place: Places
    view: Places  # [B, views]


class TailBatches(Sampler[_Draw]):
    """Batches of all tails, in random order, each tail's of the photos outside its fold; seeded by run and epoch.

    Args:
        fold: int [n], of each training photo.
        batch_size: photos a step.
        seed: of the run.
    """

    def __init__(self, fold: Places, batch_size: int, seed: int) -> None:
        self.fold, self.batch_size, self.seed, self.epoch = fold, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        models = range(int(self.fold.max()) + 2)
        return sum(-(-int((self.fold != model).sum()) // self.batch_size) for model in models)

    def __iter__(self) -> Iterator[_Draw]:
        draw = np.random.default_rng((self.seed, self.epoch))
        batches = []
        for model in range(int(self.fold.max()) + 2):
            order = draw.permutation(np.flatnonzero(self.fold != model))
            for start in range(0, len(order), self.batch_size):
                place = order[start : start + self.batch_size]
                batches.append(_Draw(model, place, draw.integers(len(FLIPS), size=(len(place), 1))))
        for number in draw.permutation(len(batches)):
            yield batches[number]


class _Photos(Dataset[TailBatch]):
    def __init__(self, maps: Tensor, label: Tensor, position: Places) -> None:
        self.maps, self.label, self.position = maps, label, torch.from_numpy(position)

    def __getitem__(self, draw: _Draw) -> TailBatch:
        place = torch.from_numpy(draw.place)
        maps = self.maps[place[:, None], torch.from_numpy(draw.view)]
        return TailBatch(maps, self.label[place], self.position[place], place, draw.model)


class TailDataModule(FeatureDataModule):
    """Maps for training, each fold's held-out photos for validation, and features afterwards.

    Args:
        store: features of the complete network; computed after the training.
        backbone: of that network.
        fold: int [n], the fold of each training photo, from 0 without gaps.
        batch_size: photos a step.
        seed: of the run.
        views: number of views per photo.
    """

    def __init__(
        self, store: FeatureStore, backbone: TimmBackbone, fold: Places, batch_size: int, seed: int, views: int
    ) -> None:
        super().__init__(store)
        self._backbone, self._fold, self._views = backbone, fold, views
        self._sampler = TailBatches(fold, batch_size, seed)
        self._photos: _Photos | None = None

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of all tails."""
        return self._of(self._sampler)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Each training photo once, for the tail of its fold."""
        held, size = [], self._sampler.batch_size
        for model in range(int(self._fold.max()) + 1):
            place = np.flatnonzero(self._fold == model)
            for some in np.split(place, range(size, len(place), size)):
                held.append(_Draw(model, some, np.tile(np.arange(self._views), (len(some), 1))))
        return [self._of(held)]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move maps to the device of the tails."""
        if isinstance(batch, FeatureBatch):
            return batch
        return LightningDataModule.transfer_batch_to_device(self, batch, device, dataloader_idx)

    def _of(self, sampler: Any) -> DataLoader[Any]:
        if self._photos is None:
            photos = self.store.photos
            position = photos.indices("train")
            maps = fine_maps(self._backbone, photos, position, self._device)
            self._photos = _Photos(maps, torch.from_numpy(photos.labels[position]).float(), position)
        return DataLoader(self._photos, sampler=sampler, batch_size=None, generator=torch.Generator())


def fine_maps(backbone: TimmBackbone, photos: PhotoSet, position: Places, device: torch.device) -> Tensor:
    """Maps that tails read, of photos and their mirror images, float16 [n, 4, C, h, w]: 0.46 MB a photo of 300 px.

    Args:
        backbone: in eval mode.
        photos: decoded photos.
        position: int64 [n], of the photos asked for.
        device: where to compute.
    """
    backbone = backbone.to(device)
    at_once = 1 if device.type == "cpu" else gpu_block(photos.decode.height, photos.decode.width)

    def views(image: Tensor) -> tuple[Tensor]:
        # one view at a time: small maps stay in the cache
        seen = [backbone.fine_map(image.flip(axes) if axes else image).half().cpu() for axes in FLIPS]
        return (torch.stack(seen, 1),)

    def compute(start: int) -> Tensor:
        with torch.inference_mode():
            image = scaled(torch.from_numpy(photos.pixels(position[start : start + at_once])).to(device))
            return blockwise(views, image, at_once)[0]

    maps, done = torch.empty(0), 0
    with photo_threads(device) as pool, Progress(total=len(position), desc="maps", unit="photo", delay=1.0) as bar:
        every = pool.map if device.type == "cpu" else map  # on a GPU in this thread: see `gpu_block`
        for some in every(compute, range(0, len(position), at_once)):
            if not done:
                maps = torch.empty(len(position), *some.shape[1:], dtype=torch.float16)
            maps[done : done + len(some)] = some
            done += len(some)
            bar.update(len(some))
    return maps
