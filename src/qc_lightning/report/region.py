"""Pictures of the region of interest: the part of a photo that the network sees."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from qc_lightning.core.errors import UserError
from qc_lightning.data.decode import BadImage, DecodeSettings, decode
from qc_lightning.data.geometry import region
from qc_lightning.data.mask import unpack_mask
from qc_lightning.data.mask_file import read_mask
from qc_lightning.data.shape import photo_size
from qc_lightning.report.gallery import Pictures, locate, shown_size

_SHOWN = 4
_DIMMED = 4  # outside the region pixels keep a quarter of their brightness


def region_pictures(
    predictions: Sequence[Mapping[str, Any]],
    starts: Sequence[Path],
    roi: Sequence[float] | None,
    mask: str | None,
    bit_depth: int,
    side: int,
    pictures: Pictures,
) -> list[dict[str, str]]:
    """The first photos, dark where they do not count; none where everything counts.

    Args:
        predictions: rows of predictions.csv.
        starts: folders that a relative path may start from.
        roi: region of interest: left, top, right and bottom, in shares of the photo.
        mask: file of the mask; one that is gone or no mask any more is left out.
        bit_depth: of 16-bit photos.
        side: of the square with as many pixels as the network sees.
        pictures: takes the photos.

    Returns:
        [{"path", "photo"}], without those that cannot be read.
    """
    shown: list[dict[str, str]] = []
    if roi is None and mask is None:
        return shown
    for prediction in predictions[:_SHOWN]:
        path = locate(prediction["path"], starts)
        size = photo_size(path)
        if size is None:
            continue
        shape = shown_size(*size, side)
        try:
            pixels = decode(path, DecodeSettings(*shape, bit_depth=bit_depth))
        except BadImage:
            continue
        counts = np.zeros(shape, bool)
        counts[region(None if roi is None else (roi[0], roi[1], roi[2], roi[3]), shape)] = True
        if mask is not None:
            with suppress(UserError):
                counts &= unpack_mask(read_mask(Path(mask).expanduser(), shape, None), shape)
        if data := pictures.pixels(np.where(counts, pixels, pixels // _DIMMED)):
            shown.append({"path": prediction["path"], "photo": data})
    return shown
