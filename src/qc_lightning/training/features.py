"""Features of photos under a pretrained network: computed once and cached on disk."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qc_lightning.config import AugmentConfig, ModelConfig
from qc_lightning.core.bars import Progress
from qc_lightning.data.augment import augment
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.decoding.decode import DecodeSettings, scaled
from qc_lightning.data.photo import Photo
from qc_lightning.models.network import Network, block_of, gpu_block
from qc_lightning.models.photo_threads import photo_threads
from qc_lightning.models.tiles import blockwise
from qc_lightning.training.feature_cache import FeatureCache, fill_in, key_of
from qc_lightning.training.feature_memory import room_for

MOST_WITH_PATCHES = 4000  # training photos; half a gigabyte with a copy of each
_KEPT_AT_ONCE = 256  # photos between saves: an interrupted run loses at most this many

Named = tuple[Photo, str]
"""A photo and the name that the random draws of its copies follow from."""

Elsewhere = Callable[[Sequence[Named]], Iterator[tuple[npt.NDArray[np.int64], Tensor]]]
"""Computes features [m, tiles * width] of photos on other machines; gives some of their places with them at a time."""


def affordable(model: ModelConfig, photos: int) -> ModelConfig:
    """Switch patches off if there are too many training photos: patches take most of the memory."""
    return replace(model, patches=model.patches and photos <= MOST_WITH_PATCHES)


def extract_features(
    network: Network,
    photos: PhotoSet,
    positions: npt.NDArray[np.int64],
    device: torch.device,
    cache: FeatureCache | None,
    copy: int = 0,
    augmentation: AugmentConfig | None = None,
    elsewhere: Elsewhere | None = None,
) -> Tensor:
    """Features of some photos of the set, [len(positions), tiles, width] on the CPU, of the network's `dtype`.

    Args:
        network: in eval mode, on `device`.
        photos: decoded photos.
        positions: indices of the photos in the dataset.
        device: where to compute.
        cache: the features that earlier runs have computed; None to keep nothing.
        copy: 0 for the photos as they are; 1, 2, ... for that augmented copy of each, whose draw follows from the photo
            and this number alone: any run, with any seed, gets the same.
        augmentation: of the copies.
        elsewhere: computes them, from the photos' files; None: this process does, from decoded pixels.

    Raises:
        UserError: they cannot be computed elsewhere, or a file has changed.
    """
    names = [f"{_seen(photos, row)}/{copy}{augmentation if copy else ''}" for row in positions]
    key = key_of(network, photos.decode, device) if cache is not None else ""
    count = network.tiles[0] * network.tiles[1]
    features = room_for((len(positions), count * network.width), network.dtype, cache.folder if cache else None)
    missing = fill_in(cache.folder / key, names, features) if cache else np.ones(len(names), dtype=bool)
    todo = np.flatnonzero(missing)
    # On a CPU one thread a core, each with a photo of its own: nobody waits for the others, the maps stay so small that
    # the system does not take their memory back after every layer (which cost a third more time at 300 px), and a photo
    # gets the same features to the last bit whichever photos come with it, here and in a later prediction.
    at_once = photos_at_once(network, photos.decode, device)

    def compute(places: npt.NDArray[np.int64]) -> None:
        pixels = photos.pixels(positions[places])
        with torch.inference_mode():  # the features may have been made in it, by another thread
            features[places] = photo_features(network, pixels, [names[at] for at in places], copy, augmentation, device)
        bar.update(len(places))

    def parts() -> Iterator[npt.NDArray[np.int64]]:
        """Places whose features have been computed, some at a time."""
        if elsewhere is not None:
            for some, values in elsewhere([(photos.photos[positions[place]], names[place]) for place in todo]):
                features[todo[some]] = values
                bar.update(len(some))
                yield todo[some]
            return
        for start in range(0, len(todo), _KEPT_AT_ONCE):
            part = todo[start : start + _KEPT_AT_ONCE]
            # on a GPU in this thread: see `gpu_block`
            every = pool.map if device.type == "cpu" else map
            for _ in every(compute, [part[i : i + at_once] for i in range(0, len(part), at_once)]):
                pass
            yield part

    what = "features of copies" if copy else "features"
    with (
        Progress(total=len(positions), initial=len(positions) - len(todo), desc=what, unit="photo", delay=1.0) as bar,
        photo_threads(device) as pool,
    ):
        for part in parts():
            if cache is not None:
                cache.keep(key, [names[place] for place in part], features[part])
    return features.view(len(positions), count, network.width)


def photos_at_once(network: Network, decode: DecodeSettings, device: torch.device) -> int:
    """Number of photos that go through the network at a time."""
    return block_of(network) if device.type == "cpu" else gpu_block(decode.height, decode.width)


def photo_features(
    network: Network,
    pixels: npt.NDArray[np.uint8],
    names: Sequence[str],
    copy: int,
    augmentation: AugmentConfig | None,
    device: torch.device,
) -> Tensor:
    """Features [n, tiles * width] on the CPU of photos uint8 [n, 3, H, W], or of an augmented copy of each.

    Args:
        network: in eval mode, on `device`.
        pixels: decoded photos.
        names: the random draws of a photo's copy follow from its name.
        copy: 0 for the photos as they are.
        augmentation: of copies.
        device: where to compute.
    """
    with torch.inference_mode():
        image = scaled(torch.from_numpy(pixels).to(device))
        if copy and augmentation is not None:
            draws = [torch.Generator().manual_seed(_seed(name)) for name in names]
            pairs = zip(image, draws, strict=True)
            image = torch.cat([augment(one[None], augmentation, draw) for one, draw in pairs])
        if device.type == "cpu":
            return network.tile_features(image).flatten(1)
        block = gpu_block(image.shape[2], image.shape[3])
        return blockwise(lambda some: (network.tile_features(some).flatten(1).cpu(),), image, block)[0]


def _seen(photos: PhotoSet, row: int) -> str:
    """The bytes of a photo, and the region of it that its camera has."""
    photo, decode = photos.photos[row], photos.decode
    return f"{photo.sha256}@{decode.at(photo.camera)}" if decode.cameras else str(photo.sha256)


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
