"""The file of a mask: a black and white image of the photos' shape."""

from pathlib import Path

import numpy as np
from PIL import Image

from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode_whole
from qc_lightning.data.decoding.geometry import region
from qc_lightning.data.decoding.mask import HIDDEN, pack_mask

_LONGEST = 8192  # pixels of a side: a finer mask is made smaller first


def read_mask(path: Path, shape: tuple[int, int], roi: tuple[float, float, float, float] | None) -> str:
    """Read a mask file as decode settings hold it.

    Args:
        path: an image of the shape of the photos; what is lighter than mid grey counts.
        shape: height and width of the decoded photo.
        roi: the region of interest that photos are cut to; the mask is cut alike.

    Raises:
        UserError: no image, or one that hides nothing or everything.
    """
    try:
        pixels = decode_whole(path, DecodeSettings(), _LONGEST)
    except (BadImage, OSError) as error:
        raise UserError(f"data.mask: expected a black and white image, {path} cannot be read as one: {error}") from None
    grey = Image.fromarray(pixels).convert("L")
    rows, columns = region(roi, (grey.height, grey.width))
    part = grey.crop((columns.start, rows.start, columns.stop, rows.stop))
    counts = np.asarray(part.resize((shape[1], shape[0]), Image.Resampling.BOX)) >= HIDDEN
    if counts.all() or not counts.any():
        what = "nothing" if counts.all() else "everything"
        raise UserError(f"data.mask: expected white where photos count and black elsewhere, {path} hides {what}")
    return pack_mask(counts)
