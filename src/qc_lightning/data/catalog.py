"""The catalog: which photos there are, with the label and the group of each.

Four sources give the same thing, a list of `Photo` in an order that does not depend on how a directory lists its files:
a folder per class, a manifest (CSV), the rendered parts, and the ELPV solar cells.
"""

import csv
import io
import os
import re
from pathlib import Path

from qc_lightning.config import ClassNames, DataConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.suggestions import nearest
from qc_lightning.data.decode import IMAGE_SUFFIXES
from qc_lightning.data.photo import SUBSETS, Photo

_MANIFEST_COLUMNS = ("path", "label", "group", "subset", "sha256")


def read_catalog(config: DataConfig) -> list[Photo]:
    """List the photos of the source that `config` names, sorted by name.

    Raises:
        UserError: the folder, a class or the manifest is not what it must be.
    """
    if config.manifest is not None:
        photos = _read_manifest(Path(config.manifest).expanduser(), config)
    elif config.source == "parts":
        from qc_lightning.data.parts.photos import ensure_parts

        root = ensure_parts(Path(config.cache_dir).expanduser() / "parts", config.count or 0, seed=0)
        photos = _scan(root, ClassNames("Correct", "Incorrect"), config.group)
    elif config.source == "elpv":
        from qc_lightning.data.sources.elpv import read_elpv

        photos = read_elpv(config)
    else:
        photos = _scan(Path(config.root or "").expanduser().resolve(), config.classes, config.group)
    odd = [path_text(photo.name) for photo in photos if path_text(photo.name) != photo.name]
    if odd:
        raise UserError(
            f"expected file names in UTF-8, {len(odd)} of {len(photos)} are not and could not be written to split.csv, "
            f"for example {odd[0]}: rename them"
        )
    return sorted(photos, key=lambda photo: photo.name)


def path_text(path: str) -> str:
    """A path as it is written to a file: bytes that are no valid UTF-8 appear as a backslash, x and two hex digits."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def group_of(name: str, rule: str) -> str:
    """Return the group of a photo by its name.

    >>> group_of("Correct/bracket-7/left.jpg", "folder")
    'Correct/bracket-7'
    >>> group_of("Correct/bracket-7_left.jpg", "prefix")
    'bracket-7'
    """
    parent, _, file = name.rpartition("/")
    stem = file.rsplit(".", 1)[0]
    if rule == "folder":
        return parent
    if rule == "prefix":
        cut = max(stem.rfind("_"), stem.rfind("-"))
        return stem[:cut] if cut > 0 else stem
    return name


def _scan(root: Path, classes: ClassNames, group: str) -> list[Photo]:
    if not root.is_dir():
        wanted = f"{classes.correct}/ and {classes.incorrect}/"
        raise UserError(f"data.root: expected a folder with {wanted} in it, there is no folder {root}")
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if "train" in folders and not set(classes.names) & set(folders):
        subsets = [subset for subset in SUBSETS if subset in folders]
        return [photo for subset in subsets for photo in _scan_classes(root, f"{subset}/", classes, group, subset)]
    return _scan_classes(root, "", classes, group, None)


def _scan_classes(root: Path, prefix: str, classes: ClassNames, group: str, subset: str | None) -> list[Photo]:
    base = root / prefix
    folders = sorted(entry.name for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    photos = []
    for label, class_name in enumerate(classes.names):
        key = f"data.classes.{'incorrect' if label else 'correct'}"
        if class_name not in folders:
            others = [folder for folder in folders if folder not in classes.names]
            hint = nearest(class_name, others)
            hint = hint or f" (there is: {', '.join(folders[:5]) or 'no folder at all'})"
            raise UserError(f"expected a folder '{class_name}' in {base}{hint}: rename it or set {key}=<its name>")
        found = []
        for directory, subdirectories, files in os.walk(base / class_name, followlinks=True):
            subdirectories[:] = [name for name in subdirectories if not name.startswith(".")]
            found += [Path(directory) / file for file in files if _is_photo(file)]
        if not found:
            raise UserError(f"expected photos in {base / class_name}, found none ({', '.join(sorted(IMAGE_SUFFIXES))})")
        for path in found:
            name = path.relative_to(root).as_posix()
            photos.append(Photo(path, name, label, group_of(name.removeprefix(prefix), group), subset))
    return photos


def _is_photo(file: str) -> bool:
    return not file.startswith(".") and Path(file).suffix.lower() in IMAGE_SUFFIXES


def _read_manifest(manifest: Path, config: DataConfig) -> list[Photo]:
    if not manifest.is_file():
        raise UserError(f"data.manifest: expected a CSV file with path,label[,group][,subset], no file {manifest}")
    root = Path(config.root).expanduser() if config.root else manifest.parent
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{manifest}, line {line}: expected UTF-8; save it again as 'CSV UTF-8'") from error
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if len(columns) == 1 and re.search("[;\t]", columns[0]):
            raise UserError(f"{manifest}: expected commas between the columns, line 1 is: {columns[0]}")
        for column in columns:
            if column not in _MANIFEST_COLUMNS:
                hint = nearest(column, list(_MANIFEST_COLUMNS))
                raise UserError(f"{manifest}: unknown column '{column}'{hint}; known: {', '.join(_MANIFEST_COLUMNS)}")
        for column in ("path", "label"):
            if column not in columns:
                raise UserError(f"{manifest}: expected a column '{column}' in line 1, got: {', '.join(columns)}")
        rows = list(reader)
    photos: dict[str, Photo] = {}
    for line, row in enumerate(rows, start=2):
        where = f"{manifest}, line {line}"
        if None in row or None in row.values():
            raise UserError(f"{where}: expected {len(columns)} fields like the first line has")
        names = config.classes.names
        if row["label"] not in names:
            hint = nearest(row["label"], list(names))
            raise UserError(f"{where}: unknown label '{row['label']}'{hint}; expected {names[0]} or {names[1]}")
        if (subset := row.get("subset") or None) not in (*SUBSETS, None):
            raise UserError(f"{where}: unknown subset '{subset}'; expected {', '.join(SUBSETS)} or nothing")
        path = root / Path(row["path"]).expanduser()
        if not path.is_file():
            raise UserError(f"{where}: no file {path}; paths count from the manifest's folder or from data.root")
        name = Path(row["path"]).as_posix()
        if name in photos:
            raise UserError(f"{where}: {name} stands in the manifest twice; remove one of the lines")
        group = row.get("group") or group_of(name, config.group)
        photos[name] = Photo(path.resolve(), name, names.index(row["label"]), group, subset, row.get("sha256") or None)
    return list(photos.values())
