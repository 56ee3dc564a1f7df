"""Decode settings, which are part of cache keys and checkpoints."""

from dataclasses import asdict, dataclass
from typing import Any

from qc_lightning.config.data import BIT_DEPTHS, check_roi
from qc_lightning.core.errors import UserError
from qc_lightning.data.image_file import MAX_PIXELS
from qc_lightning.data.mask import unpack_mask


@dataclass(frozen=True)
class DecodeSettings:
    """Settings that define the pixels of a file: plain values for cache keys and checkpoints.

    Attributes:
        height: Of a tile of the output, in pixels, 8 to 8192.
        width: Of a tile of the output, in pixels, 8 to 8192.
        resize: `squash` fits the photo to the output; `letterbox` keeps its aspect and pads with mid grey (128).
        bit_depth: Real bits of 16-bit files, 9 to 16: 12 for a 12-bit camera.
        rows: Tiles from top to bottom, at least 1.
        columns: Tiles from left to right, at least 1.
        max_pixels: Photos with more are refused by their header, before any memory is taken.
        roi: Left, top, right and bottom of the region of interest, in shares of the upright photo's width and height,
            0 to 1; None for the complete photo. Nothing outside it reaches the network.
        mask: Where the photo counts, as `data.mask` packs it; None for everywhere. The rest becomes mid grey.

    Raises:
        UserError: A value is out of its range.
    """

    height: int = 64
    width: int = 64
    resize: str = "squash"
    bit_depth: int = 16
    rows: int = 1
    columns: int = 1
    max_pixels: int = MAX_PIXELS
    roi: tuple[float, float, float, float] | None = None
    mask: str | None = None

    def __post_init__(self) -> None:
        if not (8 <= self.height <= 8192 and 8 <= self.width <= 8192):
            size = f"{self.height} x {self.width}"
            raise UserError(f"height and width must be 8 to 8192 pixels, got {size}: choose a size in that range")
        if self.resize not in ("squash", "letterbox"):
            raise UserError(f"resize must be squash or letterbox, got {self.resize!r}: choose one of the two")
        if self.bit_depth not in BIT_DEPTHS:
            raise UserError(f"bit_depth must be 9 to 16, got {self.bit_depth}: give the camera's real bits")
        if min(self.rows, self.columns) < 1:
            raise UserError(f"rows and columns must be at least 1, got {self.rows} x {self.columns}: give 1 or more")
        if self.roi is not None:
            check_roi(self.roi)
            object.__setattr__(self, "roi", tuple(self.roi))  # a list, where it comes out of a file
        if self.mask is not None:
            unpack_mask(self.mask, self.shape[1:])

    def plain(self) -> dict[str, Any]:
        """The settings as JSON data; `DecodeSettings(**plain)` restores them."""
        return asdict(self) | {"roi": None if self.roi is None else list(self.roi)}

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of a tile; of the photo where there is one tile."""
        return self.height, self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a decoded photo: 3, height, width."""
        return 3, self.rows * self.height, self.columns * self.width
