"""Photos by a table: the manifest."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qc_lightning.config import FolderConfig
from qc_lightning.core.csv_files import as_given
from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import read_text
from qc_lightning.core.suggestions import nearest
from qc_lightning.data.photo import SUBSETS, Catalog, Photo, group_of

_COLUMNS = ("path", "label", "group", "subset", "sha256", "kind", "camera")


def read_manifest(manifest: Path, config: FolderConfig) -> Catalog:
    """List the photos of a CSV with path,label[,group][,subset][,sha256][,kind][,camera].

    Raises:
        UserError: the file, its columns or a line is invalid.
    """
    columns, records = _read(manifest)
    root = Path(config.root).expanduser() if config.root else manifest.parent
    photos: dict[str, Photo] = {}
    for line, row in enumerate(records, start=2):
        where = f"{manifest}, line {line}"
        if None in row or None in row.values():
            raise UserError(f"{where}: expected {len(columns)} fields like the first line has")
        photo = _photo({column: as_given(field) for column, field in row.items()}, where, root, config)
        if photo.name in photos:
            raise UserError(f"{where}: {photo.name} is in the manifest twice; remove one of the lines")
        photos[photo.name] = photo
    unknown = [column for column in columns if column not in _COLUMNS]
    unused = f"columns of {manifest.name} that are not used: {', '.join(unknown)}."
    return Catalog(list(photos.values()), [unused] if unknown else [])


def _read(manifest: Path) -> tuple[Sequence[str], list[dict[str | Any, str | Any]]]:
    """The columns, and the rows by column; a row of another length has None as a column or a value."""
    if not manifest.is_file():
        raise UserError(f"data.manifest: expected a CSV file with path,label[,group][,subset], no file {manifest}")
    try:
        text = read_text(manifest, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{manifest}, line {line}: expected UTF-8; save it again as 'CSV UTF-8'") from error
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        _check_columns(manifest, columns)
        try:
            records = list(reader)
        except csv.Error as error:  # a field of more than 131,072 letters, or a NUL
            raise UserError(f"{manifest}, line {reader.line_num}: expected a CSV ({error})") from error
    if not records:
        raise UserError(f"{manifest}: expected a row for each photo below line 1, there is none")
    return columns, records


def _check_columns(manifest: Path, columns: Sequence[str]) -> None:
    """Refuse a table without path and label, or with a column whose name resembles a known one that is missing."""
    if len(columns) == 1 and re.search("[;\t]", columns[0]):
        raise UserError(f"{manifest}: expected commas between the columns, line 1 is: {columns[0]}")
    missing = [column for column in _COLUMNS if column not in columns]
    for column in columns:
        if column not in _COLUMNS and (hint := nearest(column, missing)):
            raise UserError(f"{manifest}: unknown column '{column}'{hint}; known: {', '.join(_COLUMNS)}")
    for column in ("path", "label"):
        if column in missing:
            raise UserError(f"{manifest}: expected a column '{column}' in line 1, got: {', '.join(columns)}")


def _photo(row: Mapping[str, str], where: str, root: Path, config: FolderConfig) -> Photo:
    """The photo of a row; `where` names the file and line in messages."""
    names = config.classes.names
    if row["label"] not in names:
        hint = nearest(row["label"], list(names))
        raise UserError(f"{where}: unknown label '{row['label']}'{hint}; expected {names[0]} or {names[1]}")
    if (subset := row.get("subset") or None) not in (*SUBSETS, None):
        raise UserError(f"{where}: unknown subset '{subset}'; expected {', '.join(SUBSETS)} or nothing")
    path = root / Path(row["path"]).expanduser()
    if not _is_file(path):
        hint = "paths are relative to the manifest's folder or to data.root"
        if "\\" in row["path"]:
            hint = "it has backslashes, as on Windows: write / between folders"
        raise UserError(f"{where}: no file {_shortened(str(path))}; {hint}")
    name = Path(row["path"]).as_posix()
    group = row.get("group") or group_of(name, config.group)
    kind, camera = ((row.get(column) or "").strip() for column in ("kind", "camera"))
    label, sha256 = names.index(row["label"]), row.get("sha256") or None
    return Photo(path.resolve(), name, label, group, subset, sha256, kind, camera)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than a file system takes, or with a NUL
        return False


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:200]}... ({len(text)} letters)"
