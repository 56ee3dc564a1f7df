"""A mask: the part of every photo that counts, drawn once as a black and white image."""

import base64
import binascii
import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qc_lightning.core.errors import UserError

HIDDEN = 128  # value of hidden pixels: mid grey, as around a letterboxed photo


def pack_mask(counts: npt.NDArray[np.bool_]) -> str:
    """Pack a mask, bool [height, width] and true where photos count, into text for `unpack_mask`."""
    return base64.b64encode(zlib.compress(np.packbits(counts).tobytes(), 9)).decode("ascii")


@lru_cache(maxsize=64)
def unpack_mask(packed: str, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Unpack a mask for photos of this height and width: bool [height, width], true where they count.

    Raises:
        UserError: it is not a mask of this shape.
    """
    size = shape[0] * shape[1]
    try:
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(base64.b64decode(packed, validate=True), size // 8 + 2)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise UserError("mask: expected one that was packed by a training, got damaged text: train again") from error
    if not unpacker.eof or len(unpacked) != -(-size // 8):
        raise UserError(
            f"mask: expected one of {shape[0]} x {shape[1]} pixels, got damaged text or another size: train again"
        )
    counts = np.unpackbits(np.frombuffer(unpacked, np.uint8), count=size).astype(bool).reshape(shape)
    counts.flags.writeable = False
    return counts


def masked(pixels: npt.NDArray[np.uint8], packed: str) -> npt.NDArray[np.uint8]:
    """Decoded pixels, uint8 [3, height, width], with mid grey where the photo does not count."""
    return np.where(unpack_mask(packed, (pixels.shape[1], pixels.shape[2])), pixels, np.uint8(HIDDEN))
