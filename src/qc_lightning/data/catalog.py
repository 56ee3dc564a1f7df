"""The catalog: all photos with label and group.

Four sources give the same thing, a list of `Photo` in an order that does not depend on how a directory lists its files:
a folder per class, a manifest (CSV), the rendered parts, and the ELPV solar cells.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from qc_lightning.config import AnyData, ClassNames, ElpvConfig, PartsConfig
from qc_lightning.core.errors import UserError
from qc_lightning.data.corrections import apply_corrections
from qc_lightning.data.photo import Catalog, Photo
from qc_lightning.data.sources.folders import read_folders
from qc_lightning.data.sources.manifest import read_manifest
from qc_lightning.data.sources.mirror import mirror
from qc_lightning.data.sources.remote import is_address


def read_catalog(config: AnyData, one_class: bool = False, good_only: bool = False) -> Catalog:
    """List the photos of the source that `config` names, sorted by name.

    Args:
        config: settings of the photos.
        one_class: whether a folder for one of the two classes is enough.
        good_only: whether Correct photos alone are accepted if there are no others.

    Raises:
        UserError: a folder, a class or the manifest is missing or invalid.
    """
    if isinstance(config, PartsConfig):
        from qc_lightning.data.parts.photos import ensure_parts

        root = ensure_parts(Path(config.cache_dir).expanduser() / "parts", config.count, seed=0)
        photos, notes = read_folders(root, ClassNames(correct="Correct", incorrect="Incorrect"), config.group)
    elif isinstance(config, ElpvConfig):
        from qc_lightning.data.sources.elpv import read_elpv

        photos, notes = read_elpv(config), []
    elif config.manifest is not None:
        photos, notes = read_manifest(Path(config.manifest).expanduser(), config)
    else:
        if is_address(config.root or ""):
            root = mirror(str(config.root), Path(config.cache_dir).expanduser() / "photos")
        else:
            root = Path(config.root or "").expanduser().resolve()
        photos, notes = read_folders(root, config.classes, config.group, one_class, good_only)
    if config.corrections is not None:
        photos, corrected = apply_corrections(photos, Path(config.corrections).expanduser(), config.classes.names)
        notes = [*notes, *corrected]
    odd = [path_text(photo.name) for photo in photos if path_text(photo.name) != photo.name]
    if odd:
        raise UserError(
            f"expected file names in UTF-8, {len(odd)} of {len(photos)} are not and could not be written to split.csv, "
            f"for example {odd[0]}: rename them"
        )
    if config.cameras is not None:
        _check_cameras(photos, list(config.cameras))
    return Catalog(sorted(photos, key=lambda photo: photo.name), notes)


def _check_cameras(photos: Sequence[Photo], cameras: Sequence[str]) -> None:
    """Refuse photos of no camera, or of one that has no region."""
    if unknown := [photo for photo in photos if photo.camera not in cameras]:
        first = unknown[0]
        raise UserError(
            f"data.cameras: expected a manifest whose column camera names {' or '.join(cameras)} for each photo, "
            f"{len(unknown)} of {len(photos)} have another or none, for example "
            f"{path_text(first.name)}: {first.camera or 'none'}"
        )


def path_text(path: str) -> str:
    """A path as text for files: bytes that are not valid UTF-8 become a backslash, x and two hex digits."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
