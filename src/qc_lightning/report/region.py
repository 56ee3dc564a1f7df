"""Pictures of the region of interest: the part of a photo that the network sees."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qc_lightning.config.data import roi_of
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.geometry import region
from qc_lightning.data.decoding.mask import unpack_mask
from qc_lightning.data.decoding.mask_file import read_mask
from qc_lightning.report.gallery import Pictures, RunPhotos

_SHOWN = 4
_DIMMED = 4  # outside the region pixels keep a quarter of their brightness


def region_pictures(
    predictions: Sequence[Mapping[str, Any]],
    regions: Mapping[str, Mapping[str, Any]],
    camera_of: Mapping[str, str],
    photos: RunPhotos,
    pictures: Pictures,
) -> list[dict[str, str]]:
    """The first photos of each camera, darkened outside the region; none if the region is the full photo.

    Args:
        predictions: rows of predictions.csv.
        regions: for each camera "roi", the region of interest (left, top, right and bottom as fractions of the photo),
            and "mask", a file; a missing or invalid mask is left out. An entry with an empty name is for all photos.
        camera_of: camera of each photo, by its path.
        photos: the photos of the run.
        pictures: takes the photos.

    Returns:
        [{"path", "camera", "photo"}], without those that cannot be read.
    """
    shown: list[dict[str, str]] = []
    if not any(one.get("roi") or one.get("mask") for one in regions.values()):
        return shown
    for camera, one in regions.items():
        own = [row["path"] for row in predictions if not camera or camera_of.get(row["path"]) == camera]
        drawn = (_kept(photos, name, one) for name in own[:_SHOWN])
        for name, pixels in zip(own, drawn, strict=False):
            if pixels is not None and (data := pictures.pixels(pixels)):
                shown.append({"path": name, "camera": camera, "photo": data})
    return shown


def _kept(photos: RunPhotos, name: str, region_of: Mapping[str, Any]) -> npt.NDArray[np.uint8] | None:
    pixels = photos.decoded(name)
    if pixels is None:
        return None
    shape = pixels.shape[1], pixels.shape[2]
    counts = np.zeros(shape, bool)
    counts[region(roi_of(region_of.get("roi")), shape)] = True
    if mask := region_of.get("mask"):
        with suppress(UserError):
            counts &= unpack_mask(read_mask(Path(mask).expanduser(), shape, None), shape)
    return np.where(counts, pixels, pixels // _DIMMED)
