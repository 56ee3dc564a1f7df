"""Settings of the photos, one dataclass per source."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from qc_lightning.config.checks import check
from qc_lightning.core.errors import UserError

Resize = Literal["shape", "squash", "letterbox"]
Cache = Literal["disk", "ram", "off"]
Group = Literal["none", "folder", "prefix"]
Subset = Literal["train", "val", "test"]
Roi = tuple[float, float, float, float]
"""Left, top, right and bottom, in shares of the upright photo."""

BIT_DEPTHS = range(9, 17)  # significant bits of a 16-bit file


def check_roi(roi: Sequence[float], setting: str = "data.roi") -> None:
    """Raise UserError unless a region of interest is a rectangle inside the photo."""
    expected = "[left, top, right, bottom], shares of the photo from 0 to 1, such as [0.1,0.2,0.9,0.8]"
    inside = len(roi) == 4 and 0 <= roi[0] < roi[2] <= 1 and 0 <= roi[1] < roi[3] <= 1
    check(inside, setting, expected, list(roi))
    check(min(roi[2] - roi[0], roi[3] - roi[1]) >= 0.01, setting, "at least 0.01 of either side", list(roi))


def roi_of(roi: Sequence[float] | None) -> Roi | None:
    """A region of interest as a tuple, as decode settings hold it."""
    return None if roi is None else (roi[0], roi[1], roi[2], roi[3])


@dataclass(kw_only=True)
class RegionConfig:
    """The part of a camera's photos that counts; without roi and mask the whole photo."""

    roi: list[float] | None = None  # [left, top, right, bottom], shares from 0 to 1
    mask: str | None = None  # a black and white image of the photos' shape


@dataclass(kw_only=True)
class ClassNames:
    """The two classes, by folder name or label; `incorrect` is the positive class, label 1."""

    correct: str  # folder or label of good parts
    incorrect: str  # folder or label of bad parts: the positive class

    def __post_init__(self) -> None:
        check(self.correct != self.incorrect, "data.classes", "two different names", self.correct)

    @property
    def names(self) -> tuple[str, str]:
        """The names in the order of their labels, 0 and 1."""
        return self.correct, self.incorrect


@dataclass(kw_only=True)
class SplitConfig:
    """How the photos are split into train, val and test."""

    test: float  # fraction of all photos, evaluated once, at the end
    val: float  # fraction of the rest, which chooses the checkpoint and the threshold; 0 for no validation part
    seed: int  # of the split; by default the run's seed
    folds: int  # with fold: number of folds of the training part
    fold: int | None  # this fold is the validation part, instead of val; numbers from folds on repeat with other seeds

    def __post_init__(self) -> None:
        check(self.folds >= 2, "data.split.folds", "at least 2", self.folds)
        check(self.fold is None or self.fold >= 0, "data.split.fold", "0 or more, or null", self.fold)
        check(0 < self.test < 1, "data.split.test", "a share between 0 and 1", self.test)
        check(0 <= self.val < 1, "data.split.val", "a share from 0 to below 1", self.val)


@dataclass(kw_only=True)
class DataConfig:
    """Settings that all sources share: the photos, and how they become batches."""

    source: str  # set by data=
    classes: ClassNames
    group: Group | Literal["module"]  # which photos show one part and stay together; module: only data=elpv
    split: SplitConfig
    image_size: int  # photos become about image_size x image_size pixels
    resize: Resize  # most photos' own shape, a square, a square with bars; never a crop
    roi: list[float] | None  # [left, top, right, bottom], shares from 0 to 1: the region of the photo that counts
    mask: str | None  # a black and white image of the photos' shape: what is black in it does not count
    cameras: dict[str, RegionConfig] | None  # roi and mask for each camera, by the manifest's column `camera`
    bit_depth: int  # significant bits of 16-bit files
    on_bad_file: Literal["error", "skip"]  # for files that are not readable photos
    max_bad_share: float  # skip fails if more than this fraction is unreadable
    cache: Cache  # decoded photos: on disk, in memory (decoded in every run), or none (decoded in every epoch)
    cache_dir: str  # where decoded photos and features are kept
    batch_size: int  # photos per step
    max_pixels: int  # photos with more are refused
    cache_limit: float  # gigabytes of decoded photos in cache_dir; the least recently used are evicted
    tiles: str  # rows x columns of tiles of about image_size x image_size pixels that a photo is cut into
    corrections: str | None  # a corrections.csv saved by a report or an audit
    near_duplicates: Literal["warn", "group", "error"]  # for photos that are nearly copies of others

    def __post_init__(self) -> None:
        if self.group == "module" and self.source != "elpv":
            raise UserError(f"data.group=module: only data=elpv has modules, got data={self.source}")
        check(8 <= self.image_size <= 2048, "data.image_size", "8 to 2048 pixels", self.image_size)
        valid = re.fullmatch(r"[1-9]\d?x[1-9]\d?", self.tiles) is not None
        check(valid, "data.tiles", "ROWSxCOLUMNS, each from 1 to 99, such as 2x3", self.tiles)
        side = self.image_size * max(self.grid)
        check(side <= 16384, "data.tiles", "at most 16384 pixels of tiles along each side", side)
        if self.roi is not None:
            check_roi(self.roi)
        self._check_cameras()
        if self.resize == "letterbox" and any(mask for _, _, mask in self.regions):
            raise UserError("data.mask: takes data.resize=shape or squash, got letterbox, whose bars differ by photo")
        check(self.bit_depth in BIT_DEPTHS, "data.bit_depth", "9 to 16 bits", self.bit_depth)
        check(self.max_pixels >= 1, "data.max_pixels", "at least 1 pixel", self.max_pixels)
        check(0 <= self.max_bad_share < 1, "data.max_bad_share", "a share from 0 to below 1", self.max_bad_share)
        check(self.cache_limit >= 0, "data.cache_limit", "gigabytes, 0 or more", self.cache_limit)
        check(self.batch_size >= 1, "data.batch_size", "at least 1", self.batch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        down, across = self.tiles.split("x")
        return int(down), int(across)

    def _check_cameras(self) -> None:
        if self.cameras is None:
            return
        check(bool(self.cameras), "data.cameras", "at least one camera, such as {top: {roi: [0,0,0.5,1]}}", {})
        check("" not in self.cameras, "data.cameras", "a name for each camera", "''")
        for camera, one in self.cameras.items():
            if one.roi is not None:
                check_roi(one.roi, f"data.cameras.{camera}.roi")
        if self.roi is not None or self.mask is not None:
            raise UserError("data.cameras: has a roi and a mask for each camera, leave out data.roi and data.mask")

    @property
    def regions(self) -> list[tuple[str, Roi | None, str | None]]:
        """The camera, the region of interest and the file of the mask, of each camera; one without a name for all."""
        named = self.cameras or {"": RegionConfig(roi=self.roi, mask=self.mask)}
        return [(camera, roi_of(one.roi), one.mask) for camera, one in named.items()]

    def of_folder(self, **settings: Any) -> "FolderConfig":
        """These settings for the user's own photos: `root` or `manifest`, and any other that differs."""
        shared = {field.name: getattr(self, field.name) for field in fields(DataConfig)}
        return FolderConfig(**{**shared, **settings, "source": "folder"})


@dataclass(kw_only=True)
class PartsConfig(DataConfig):
    """Photos of a machined part, rendered by the package."""

    source: Literal["parts"]
    count: int  # parts: number of photos to render

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.count >= 2, "data.count", "at least 2 photos", self.count)


@dataclass(kw_only=True)
class FolderConfig(DataConfig):
    """The user's own photos, by folder or by table."""

    source: Literal["folder"]
    root: str | None  # folder of your photos with one folder per class; or the base of a manifest's relative paths
    manifest: str | None  # a CSV instead of folders: path,label[,group][,subset][,kind][,camera]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is None and self.manifest is None:
            raise UserError("data=folder needs your photos: give data.root=photos/ or data.manifest=labels.csv")


@dataclass(kw_only=True)
class ElpvConfig(DataConfig):
    """Electroluminescence photos of solar cells."""

    source: Literal["elpv"]
    uncertain: Literal["drop", "threshold"]  # elpv: cells with a defect probability of 1/3 or 2/3; 2/3 is Incorrect


AnyData = PartsConfig | FolderConfig | ElpvConfig
