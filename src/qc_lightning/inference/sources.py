"""List the photos of a source: a photo, a folder, a glob, a list or a CSV. Opens no photo."""

import csv
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from qc_lightning.core.csv_files import as_given
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import IMAGE_SUFFIXES
from qc_lightning.data.sources.remote import check_rights, find_remote, is_address
from qc_lightning.data.sources.walk import Walk, is_photo, why_unread
from qc_lightning.inference.inspection import CameraPhoto


@dataclass(frozen=True)
class Source:
    """The photos of a source.

    Attributes:
        root: absolute folder that names are relative to.
        names: paths relative to `root` with forward slashes, absolute for a photo elsewhere, or in a list an address
            such as s3://bucket/photo.jpg; without duplicates. Sorted, except for a list, which keeps its order. A
            million names take about 100 MB; nothing else is stored per photo.
        passed_over: number of folders left out, by kind.
        parts: part of a photo, by name, if a .csv has a column `part`.
        cameras: camera of a photo, by name, if a .csv has a column `camera`.
    """

    root: Path
    names: list[str]
    passed_over: Counter[str] = field(default_factory=Counter)
    parts: dict[str, str] = field(default_factory=dict)
    cameras: dict[str, str] = field(default_factory=dict)

    def photos(self) -> list[CameraPhoto]:
        """The files, each with its camera if known."""
        return [CameraPhoto(self.root / name, self.cameras.get(name, "")) for name in self.names]


def find_photos(source: str, skip: Collection[Path]) -> Source:
    """List the photos of a source.

    Args:
        source: a photo; a folder, including its subfolders; a glob, where `**` includes subfolders; a .txt list with
            one path per line; a .csv with a column `path` and, if known, `part` and `camera`. Paths in a list are
            relative to the list's folder.
        skip: folders to leave out, such as those of sorted photos and overlays.

    Raises:
        UserError: the source does not exist, contains no photo, or is a list that cannot be read.
    """
    path = _absolute(source)
    if path.is_dir():
        walk = Walk(path, skip)
        listing = Source(path, sorted(photos_below(walk)), walk.passed_over)
    elif path.is_file():
        suffix = path.suffix.lower()
        if suffix not in (".txt", ".csv"):
            return Source(path.parent, [path.name])
        entries = dict.fromkeys(_lines(path), ("", "")) if suffix == ".txt" else _columns(path)
        known = {_name(path, entry): said for entry, said in entries.items()}
        parts, cameras = ({name: said[column] for name, said in known.items() if said[column]} for column in (0, 1))
        listing = Source(path.parent, list(known), parts=parts, cameras=cameras)
    elif re.search(r"[*?[]", source):
        listing = _glob(path, skip)
    else:
        raise UserError(f"source: expected a photo, a folder, a glob, a .txt list or a .csv, there is no {path}")
    if not listing.names:
        raise UserError(f"source: expected photos in {path}, found none ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return listing


def find_everywhere(source: str) -> dict[str, str]:
    """Absolute paths and addresses of the photos of a source, including object storage, each with its camera or "".

    Args:
        source: as for `find_photos`, or an address of a photo or a folder, including its subfolders.

    Raises:
        UserError: as `find_photos`, or photos in object storage cannot be listed or read.
    """
    if is_address(source):
        photos = dict.fromkeys(find_remote(source), "")
    else:
        listing = find_photos(source, ())
        photos = {
            name if is_address(name) else str(listing.root / name): listing.cameras.get(name, "")
            for name in listing.names
        }
    check_rights([photo for photo in photos if is_address(photo)])
    return photos


def watched_folder(source: str, skip: Collection[Path]) -> Source:
    """The source for a folder to watch, still without photos; `skip` as in `find_photos`.

    Raises:
        UserError: the folder does not exist.
    """
    path = _absolute(source)
    if not path.is_dir() or path in skip:
        raise UserError(f"source: watch=true expects a folder, there is none at {path}")
    return Source(path, [])


def photos_below(walk: Walk) -> Iterator[str]:
    """Names of the photos in a folder and its subfolders, then of files of unread formats: each gets a row."""
    yield from walk.photos()
    yield from (name for name, _ in walk.unread)


def _glob(pattern: Path, skip: Collection[Path]) -> Source:
    fixed = list(takewhile(lambda part: not re.search(r"[*?[]", part), pattern.parts))
    root = Path(*fixed)
    names, passed_over = set[str](), Counter[str]()
    try:
        # unlike the module glob it does not follow links for **, which can form cycles
        matches = sorted(root.glob(str(Path(*pattern.parts[len(fixed) :]))))
    except ValueError as error:
        raise UserError(f"source: {pattern} is no glob: {error}") from error
    for path in matches:
        name = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in name.split("/") if name != "."):
            continue
        if path.is_dir():
            prefix = "" if name == "." else f"{name}/"
            walk = Walk(path, skip)
            names.update(prefix + below for below in photos_below(walk))
            passed_over += walk.passed_over
        elif (is_photo(path) or why_unread(path)) and not any(folder in path.parents for folder in skip):
            names.add(name)
    return Source(root, sorted(names), passed_over)


def _lines(path: Path) -> Iterable[str]:
    # surrogateescape passes the list's bytes to the file system unchanged
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        return [line.rstrip("\n") for line in file if line.strip()]


def _columns(path: Path) -> dict[str, tuple[str, str]]:
    """The columns `part` and `camera` by the column `path`; empty if there is none."""
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        try:
            columns = reader.fieldnames or []
            if "path" not in columns:
                raise UserError(f"{path}: expected a column 'path' in line 1, got: {', '.join(columns)}")
            return {
                as_given(row["path"]): (as_given(row.get("part") or ""), as_given(row.get("camera") or "").strip())
                for row in reader
                if row["path"]
            }
        except csv.Error as error:
            raise UserError(f"{path}: expected a CSV, line {reader.line_num} is none ({error})") from error


def _name(listing: Path, entry: str) -> str:
    if "\0" in entry:
        raise UserError(f"source: expected a list of paths in {listing}, it is no text file")
    if is_address(entry):
        return entry
    path = _absolute(entry, listing.parent)
    return path.relative_to(listing.parent).as_posix() if listing.parent in path.parents else str(path)


def _absolute(path: str, base: Path = Path()) -> Path:
    # not resolve(): a link keeps its given name; and Path.expanduser fails on a file called ~x
    return Path(os.path.abspath(base / os.path.expanduser(path)))  # noqa: PTH100, PTH111
