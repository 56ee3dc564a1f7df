"""Compute features of photos on a Ray cluster: workers get file names and return features."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qc_lightning.config import AugmentConfig, RayConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.data.cluster.distribute import TRIES, Cluster, check_nodes
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, read
from qc_lightning.data.photo import Photo
from qc_lightning.models.network import Network
from qc_lightning.models.precision import compute_in_float32
from qc_lightning.training.features import Named, photo_features, photos_at_once

_MOST = 64  # photos that a worker takes at a time
_BASE = 1_500_000_000  # bytes of a worker's process with torch and the maps of a photo


class FeatureWork:
    """A worker's task: photos to features as bytes.

    Args:
        network: in eval mode, on the CPU.
        decode: what decoded the photos of the training.
        copy: 0 for the photos as they are, else the number of the augmented copy.
        augmentation: of copies.
        device: cpu or cuda, where this worker computes.
        threads: that decode and, on a CPU, compute, each a photo of its own.
    """

    def __init__(
        self,
        network: Network,
        decode: DecodeSettings,
        copy: int,
        augmentation: AugmentConfig,
        device: str,
        threads: int,
    ) -> None:
        compute_in_float32()
        self._device = torch.device(device)
        self._network, self._decode = network.to(self._device), decode
        self._copy, self._augmentation = copy, augmentation
        alone = partial(torch.set_num_threads, 1) if self._device.type == "cpu" else None
        self._pool = ThreadPoolExecutor(threads, initializer=alone)

    def __call__(self, tasks: list[bytes]) -> list[bytes]:
        """Features of photos; each photo is JSON with path, camera, SHA-256 and name.

        Raises:
            UserError: a file has changed since it was checked.
        """
        size = photos_at_once(self._network, self._decode, self._device)
        batches = [tasks[start : start + size] for start in range(0, len(tasks), size)]
        return [result for batch in self._pool.map(self._compute, batches) for result in batch]

    def _compute(self, tasks: list[bytes]) -> list[bytes]:
        pixels, names = [], []
        for task in tasks:
            path, camera, sha256, name = json.loads(task)
            try:
                decoded, digest = read(Path(path), self._decode.at(camera))
            except BadImage as error:
                raise UserError(f"{path} was a good photo before and now is not ({error}): put it back") from error
            if digest != sha256:
                raise UserError(f"{path} has changed since it was checked: start again when nothing writes to it")
            pixels.append(decoded)
            names.append(name)
        features = photo_features(self._network, np.stack(pixels), names, self._copy, self._augmentation, self._device)
        return [row.numpy().tobytes() for row in features]


class FeatureCluster:
    """A cluster that computes features; every node must have this release and see the photos.

    Args:
        settings: which one.
        photos: of the training.
        decode: what decoded them.

    Raises:
        UserError: there is none, or it has no room.
    """

    def __init__(self, settings: RayConfig, photos: Sequence[Photo], decode: DecodeSettings) -> None:
        self._cluster, self._decode = Cluster(settings, _BASE), decode
        check_nodes(self._cluster, photos[0].path)
        self.device = torch.device(self._cluster.device)

    def compute(
        self, network: Network, copy: int, augmentation: AugmentConfig, photos: Sequence[Named]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Tensor]]:
        """Places of photos and their features [m, tiles * width], some at a time, in no order.

        Args:
            network: in eval mode.
            copy: 0 for the photos as they are, else the number of the augmented copy.
            augmentation: of copies.
            photos: with their names.

        Raises:
            UserError: a file has changed, or no worker survives a photo.
        """
        device, threads = self._cluster.device, self._cluster.threads
        shipped = deepcopy(network).cpu()
        work = partial(FeatureWork, shipped, self._decode, copy, augmentation, device, threads)

        def task(number: int) -> bytes:
            photo, name = photos[number]
            return json.dumps([str(photo.path), photo.camera, photo.sha256, name]).encode()

        for results in self._cluster.results(work, len(photos), task, _MOST, StopRequest()):
            if lost := [place for place, result in results if result is None]:
                raise UserError(
                    f"{photos[lost[0]][0].path}: its worker died {TRIES} times, perhaps out of memory: give a "
                    "larger ray.memory=, or leave the photo out"
                )
            computed = [(place, np.frombuffer(result, np.uint8)) for place, result in results if result is not None]
            if computed:
                values = torch.from_numpy(np.stack([value for _, value in computed])).view(network.dtype)
                yield np.array([place for place, _ in computed], np.int64), values
