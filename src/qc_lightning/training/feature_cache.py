"""Features cached on disk: a folder for each network and decoding, in it .npz files of some photos each."""

import hashlib
import logging
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
import torch
from torch import Tensor

from qc_lightning.core.atomic import replacing
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.models.network import Network

_log = logging.getLogger(__name__)


class FeatureCache:
    """Caches features below a folder; after a failed write, which is one warning, it writes nothing more.

    Args:
        folder: of all networks' features, which may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writable = True

    def keep(self, key: str, names: Sequence[str], features: Tensor) -> None:
        """Cache features [n, width] under a key, see `key_of`, for later runs."""
        if self._writable:
            self._writable = keep(self.folder / key, names, features)


def key_of(network: Network, decode: DecodeSettings, device: torch.device) -> str:
    """The cache key: everything that the features of a photo depend on except its bytes.

    The backbone's weights and settings, the decoding and what decodes, and what computes: another device or release
    gives other last digits.
    """
    made_by = (6, PIL.__version__, torch.__version__, device.type)  # 6: increase when features change
    digest = hashlib.sha256(repr((made_by, network.recipe, decode)).encode())
    for name, value in sorted(network.backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def fill_in(folder: Path, names: Sequence[str], features: Tensor) -> npt.NDArray[np.bool_]:
    """Fill in the features that are cached.

    Args:
        folder: of the cache, which may be missing.
        names: what each photo's features depend on besides the folder's key.
        features: [n, width], filled in.

    Returns:
        Which are missing, bool [n].
    """
    missing = np.ones(len(names), dtype=bool)
    digests = _digests(names).tolist()
    place = {digest: index for index, digest in enumerate(digests)}
    for file in _kept(folder):
        try:  # a zip checks what it reads, so a damaged file is passed over and computed again
            _check_sizes(file)
            with np.load(file, allow_pickle=False) as kept:
                held = [(row, place[digest]) for row, digest in enumerate(kept["names"].tolist()) if digest in place]
                held = [(row, index) for row, index in held if missing[index]]
                if not held:
                    continue
                values = kept["features"]
        except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile):
            continue
        if values.dtype == features.numpy().dtype and values.shape[1:] == features.shape[1:]:
            source, target = (np.array(side) for side in zip(*held, strict=True))
            features[target] = torch.from_numpy(values[source])
            missing[target] = False
    # byte-identical photos have one name: what is known of one is known of all
    for index, digest in enumerate(digests):
        if missing[index] and not missing[place[digest]]:
            features[index] = features[place[digest]]
            missing[index] = False
    return missing


def keep(folder: Path, names: Sequence[str], features: Tensor) -> bool:
    """Cache features for later runs; False, with a warning, if that fails."""
    digests = _digests(names)
    try:
        with (
            replacing(folder / f"{hashlib.sha256(digests.tobytes()).hexdigest()[:32]}.npz", durable=False) as file,
            file.open("wb") as out,
        ):
            np.savez(out, names=digests, features=features.numpy())
    except OSError as error:  # the features are in memory, so the run is not affected
        _log.warning("features are not kept for later runs (%s): %s", folder, error.strerror or error)
        return False
    return True


def _digests(names: Sequence[str]) -> npt.NDArray[np.bytes_]:
    return np.array([hashlib.sha256(name.encode()).digest()[:16].hex() for name in names], dtype="S32")


def _kept(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("[!.]*.npz"))
    except OSError:  # not readable
        return []


def _check_sizes(file: Path) -> None:
    """Refuse a file whose header declares arrays larger than the file: numpy would allocate them before reading."""
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                np.lib.format.read_magic(member)
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            if max(info.file_size, math.prod(shape) * dtype.itemsize) > size:
                raise ValueError(f"{file} is damaged: {info.filename} is said to be larger than the file")
