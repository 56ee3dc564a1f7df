"""Load a dataset: catalog, decode, check, split."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qc_lightning.config import AnyData, DataConfig
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.errors import UserError
from qc_lightning.data.catalog import read_catalog
from qc_lightning.data.checks.dataset_checks import check_photos, copies_across_subsets
from qc_lightning.data.checks.group_checks import check_groups, groups_across_subsets
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.decoding.decode_settings import Region
from qc_lightning.data.decoding.mask_file import read_mask
from qc_lightning.data.decoding.shape import common_shape
from qc_lightning.data.decoding.wide import bit_depth_note
from qc_lightning.data.photo import SUBSETS, Photo
from qc_lightning.data.pixels.pixel_cache import key_of
from qc_lightning.data.pixels.pixel_store import PixelStore, open_store
from qc_lightning.data.split import split


@dataclass(frozen=True)
class PhotoSet:
    """The readable photos with their subsets and pixels.

    Attributes:
        photos: the photos in catalog order, `subset` and `sha256` filled in.
        positions: int64 [n], the row of each photo in `store`.
        store: the decoded pixels, uint8 [3, H, W] a row.
        decode: the settings that decoded them.
        bad: path and reason of every file that could not be read.
        notes: messages from loading for a person.
    """

    photos: list[Photo]
    positions: npt.NDArray[np.int64]
    store: PixelStore
    decode: DecodeSettings
    bad: list[tuple[Path, str]]
    notes: list[str]

    def indices(self, subset: str) -> npt.NDArray[np.int64]:
        """Positions in `photos` of one subset, int64, in catalog order."""
        return np.array([i for i, photo in enumerate(self.photos) if photo.subset == subset], dtype=np.int64)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The label of each photo, int64 [n] of 0 and 1."""
        return np.array([photo.label for photo in self.photos], dtype=np.int64)

    def pixels(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Decoded photos by position, uint8 [len(indices), 3, H, W]."""
        pixels: npt.NDArray[np.uint8] = self.store.pixels(self.positions[indices])
        return pixels

    def with_photos(self, photos: list[Photo]) -> "PhotoSet":
        """The same dataset with other groups or subsets."""
        return replace(self, photos=photos)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Photos of each subset that is not empty, as (Correct, Incorrect)."""
        seen = Counter((photo.subset, photo.label) for photo in self.photos)
        return {subset: (seen[subset, 0], seen[subset, 1]) for subset in SUBSETS if seen[subset, 0] + seen[subset, 1]}


def decode_settings(config: DataConfig, photos: Sequence[Photo]) -> tuple[DecodeSettings, list[str]]:
    """Decode settings for these photos, and notes on photos of another shape or with fewer bits."""
    height, width, notes = config.image_size, config.image_size, list[str]()
    paths, regions = [photo.path for photo in photos], config.regions
    if config.resize == "shape":
        by_camera = {camera: roi for camera, roi, _ in regions}
        rois = [by_camera[photo.camera if config.cameras else ""] for photo in photos]
        height, width, notes = common_shape(paths, config.image_size, config.grid, rois)
    resize = "letterbox" if config.resize == "letterbox" else "squash"
    notes += bit_depth_note(paths, config.bit_depth)
    settings = DecodeSettings(height, width, resize, config.bit_depth, *config.grid, config.max_pixels)
    packed = [
        Region(camera, roi, mask and read_mask(Path(mask).expanduser(), settings.shape[1:], roi))
        for camera, roi, mask in regions
    ]
    if config.cameras is not None:
        return replace(settings, cameras=tuple(packed)), notes
    return replace(settings, roi=packed[0].roi, mask=packed[0].mask), notes


def read_photos(config: AnyData, progress: bool = True, good_only: bool = False) -> PhotoSet:
    """List and decode the photos that `config` names, without a split; any number may be unreadable.

    Raises:
        UserError: a folder, a class or the manifest is missing or invalid.
    """
    photos, left_out = read_catalog(config, good_only=good_only)
    decode, shapes = decode_settings(config, photos)
    store = _opened(photos, decode, config, progress)
    bad = [(photos[row].path, reason) for row, reason in sorted(store.bad.items())]
    positions = np.array([row for row in range(len(photos)) if row not in store.bad], dtype=np.int64)
    kept = [replace(photos[row], sha256=_verified(photos[row], store.sha256[row])) for row in positions]
    return PhotoSet(kept, positions, store, decode, bad, left_out + shapes)


def load_photos(config: AnyData, progress: bool = True, good_only: bool = False) -> PhotoSet:
    """List, decode, check and split the photos that `config` names.

    Decoding comes before the split: a file that cannot be read, or that is a copy of another one, has to be known
    before the photos are split.

    Args:
        config: settings of the photos.
        progress: whether to show a bar when it takes long.
        good_only: whether the training part may lack Incorrect photos if there are none for it.

    Raises:
        UserError: a folder, a class, the manifest or a file is missing or invalid; nothing has been written.
    """
    photos = read_photos(config, progress, good_only)
    if photos.bad:
        _refuse_bad(photos.bad, len(photos.photos) + len(photos.bad), config)
    checked = check_photos(photos.photos, photos.positions, photos.store, config, progress)
    subsets = split(checked.photos, config.split, config.classes.names, good_only)
    kept = [replace(photo, subset=subset) for photo, subset in zip(checked.photos, subsets, strict=True)]
    checks = [
        *checked.checks,
        copies_across_subsets(kept, checked.copies),
        *check_groups(checked.photos, checked.facts, config.group),
        groups_across_subsets(kept),
    ]
    return replace(photos, photos=kept, notes=photos.notes + [check.text for check in checks if check.flagged])


_latest: dict[str, PixelStore] = {}  # at most one, by the cache setting and the key of its pixels


def _opened(photos: Sequence[Photo], decode: DecodeSettings, config: DataConfig, progress: bool) -> PixelStore:
    """The pixels of these files; the last call's pixels are reused, for the jobs of a sweep."""
    paths, cameras = [photo.path for photo in photos], [photo.camera for photo in photos]
    key = key_of(paths, decode, cameras)
    store = _latest.get(f"{config.cache} {key}")
    if store is None:
        _latest.clear()
        folder = Path(config.cache_dir).expanduser() / "pixels"
        limit = int(config.cache_limit * 1e9)
        store = open_store(paths, decode, config.cache, folder, progress, limit, key, cameras)
        if config.cache != "off":
            _latest[f"{config.cache} {key}"] = store
    return store


def _refuse_bad(bad: Sequence[tuple[Path, str]], total: int, config: DataConfig) -> None:
    listed = ", ".join(f"{path} ({reason})" for path, reason in bad[:5]) + (", ..." if len(bad) > 5 else "")
    if config.on_bad_file == "error":
        raise UserError(
            f"{len(bad)} of {total} files cannot be read as photos: {listed}; "
            "mend or remove them, or leave them out with data.on_bad_file=skip"
        )
    if len(bad) > config.max_bad_share * total:
        raise UserError(
            f"{len(bad)} of {total} files cannot be read as photos, more than data.max_bad_share="
            f"{config.max_bad_share:g} allows: {listed}"
        )


def _verified(photo: Photo, sha256: str) -> str:
    if photo.sha256 is not None and photo.sha256 != sha256:
        raise UserError(f"{photo.path} is not the file that the manifest names: its sha256 has changed")
    return sha256


def split_csv(photos: Sequence[Photo], class_names: tuple[str, str]) -> str:
    """split.csv as text, usable as `data.manifest`: path,label,group,subset,sha256[,kind][,camera]."""
    more = [column for column in ("kind", "camera") if any(getattr(photo, column) for photo in photos)]
    lines = [(photo.path, class_names[photo.label], photo.group, photo.subset, photo.sha256) for photo in photos]
    known = [[getattr(photo, column) for column in more] for photo in photos]
    columns = ("path", "label", "group", "subset", "sha256", *more)
    return csv_text(columns, [(*line, *others) for line, others in zip(lines, known, strict=True)])
