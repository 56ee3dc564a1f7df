"""Decode settings, which are part of cache keys and checkpoints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from qc_lightning.config.data import BIT_DEPTHS, Roi, check_roi, roi_of
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.image_file import MAX_PIXELS, BadImage
from qc_lightning.data.decoding.mask import unpack_mask


class Region(NamedTuple):
    """The part of a camera's photos that counts.

    Attributes:
        camera: its name.
        roi: as of `DecodeSettings`.
        mask: as of `DecodeSettings`.
    """

    camera: str
    roi: Roi | None = None
    mask: str | None = None


@dataclass(frozen=True)
class DecodeSettings:
    """Settings that define the pixels of a file: plain values for cache keys and checkpoints.

    Attributes:
        height: of a tile of the output, in pixels, 8 to 8192.
        width: of a tile of the output, in pixels, 8 to 8192.
        resize: `squash` fits the photo to the output; `letterbox` keeps its aspect and pads with mid grey (128).
        bit_depth: real bits of 16-bit files, 9 to 16: 12 for a 12-bit camera.
        rows: tiles from top to bottom, at least 1.
        columns: tiles from left to right, at least 1.
        max_pixels: photos with more are refused by their header, before any memory is taken.
        roi: left, top, right and bottom of the region of interest, in shares of the upright photo's width and height,
            0 to 1; None for the complete photo. Nothing outside it reaches the network.
        mask: where the photo counts, as `data.mask` packs it; None for everywhere. The rest becomes mid grey.
        cameras: A region for each camera, in place of `roi` and `mask`; empty when one region holds for all photos.
            Such settings decode nothing until `at` has picked a camera.

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
    roi: Roi | None = None
    mask: str | None = None
    # not in repr, which is part of the key of cached features: that key names the region of each photo itself
    cameras: tuple[Region, ...] = field(default=(), repr=False)

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
        # lists and mappings, if they come from a file
        object.__setattr__(self, "roi", roi_of(self.roi))
        regions = [Region(**one) if isinstance(one, Mapping) else one for one in self.cameras]
        cameras = tuple(region._replace(roi=roi_of(region.roi)) for region in regions)
        object.__setattr__(self, "cameras", cameras)
        for _, roi, mask in (("", self.roi, self.mask), *cameras):
            if roi is not None:
                check_roi(roi)
            if mask is not None:
                unpack_mask(mask, self.shape[1:])

    def plain(self) -> dict[str, Any]:
        """The settings as JSON data; `DecodeSettings(**plain)` restores them."""
        settings = asdict(self) | {"roi": None if self.roi is None else list(self.roi)}
        del settings["cameras"]  # left out if empty: the certificates of earlier releases stay valid
        regions = [one._asdict() | {"roi": None if one.roi is None else list(one.roi)} for one in self.cameras]
        return settings | ({"cameras": regions} if regions else {})

    def at(self, camera: str) -> "DecodeSettings":
        """The settings for a photo of this camera; the same settings if one region holds for all photos.

        Raises:
            BadImage: the camera has no region.
        """
        return _at(self, camera) if self.cameras else self

    def check_camera(self, camera: str, advice: str) -> None:
        """Check that a camera has a region.

        Args:
            camera: its name, empty if unknown.
            advice: end of the error message: what to do.

        Raises:
            UserError: it has none.
        """
        try:
            self.at(camera)
        except BadImage as error:
            raise UserError(f"{error}: {advice}") from None

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of a tile; of the photo where there is one tile."""
        return self.height, self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a decoded photo: 3, height, width."""
        return 3, self.rows * self.height, self.columns * self.width


@lru_cache(maxsize=64)
def _at(settings: DecodeSettings, camera: str) -> DecodeSettings:
    for region in settings.cameras:
        if region.camera == camera:
            return replace(settings, roi=region.roi, mask=region.mask, cameras=())
    cameras = ", ".join(region.camera for region in settings.cameras)
    raise BadImage(f"camera: expected one of {cameras}, whose regions are known, got {camera or 'none'}")
