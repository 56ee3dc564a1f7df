"""Which photos a source names: a photo, a folder, a glob, a list or a CSV. No photo is opened here."""

import csv
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from qc_lightning.core.errors import UserError
from qc_lightning.data.decode import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Source:
    """Photos by name.

    Attributes:
        root: absolute folder that the names count from.
        names: below `root`, with forward slashes, or absolute for a photo elsewhere; each once. Sorted, but of a list
            in the list's order. A million of them take about 100 MB; nothing else is kept of a photo.
    """

    root: Path
    names: list[str]


def find_photos(source: str, skip: Collection[Path]) -> Source:
    """List the photos of a source.

    Args:
        source: a photo; a folder, with all below it; a glob, where `**` reaches into folders; a .txt list with one path
            a line; a .csv with a column `path`. Paths in a list count from the list's folder.
        skip: folders to leave out: those that photos are sorted into or pictures of them go to.

    Raises:
        UserError: there is nothing of that name, no photo in it, or a list cannot be read.
    """
    path = _absolute(source)
    if path.is_dir():
        found = Source(path, sorted(photos_below(path, skip)))
    elif path.is_file():
        suffix = path.suffix.lower()
        if suffix not in (".txt", ".csv"):
            return Source(path.parent, [path.name])
        entries = _lines(path) if suffix == ".txt" else _column(path)
        found = Source(path.parent, list(dict.fromkeys(_name(path, entry) for entry in entries)))
    elif re.search(r"[*?[]", source):
        found = _glob(path, skip)
    else:
        raise UserError(f"source: expected a photo, a folder, a glob, a .txt list or a .csv, there is no {path}")
    if not found.names:
        raise UserError(f"source: expected photos in {path}, found none ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def watched_folder(source: str, skip: Collection[Path]) -> Source:
    """The folder to watch, without photos yet; `skip` as in `find_photos`.

    Raises:
        UserError: there is no such folder.
    """
    path = _absolute(source)
    if not path.is_dir() or path in skip:
        raise UserError(f"source: watch=true expects a folder, there is none at {path}")
    return Source(path, [])


def photos_below(root: Path, skip: Collection[Path], seen: set[tuple[int, int]] | None = None) -> Iterator[str]:
    """Names of the photos in a folder and all below it, in no order; hidden files and folders are left out.

    Links to folders are followed, but each folder is looked into once, so a link to a folder above it does no harm.

    Args:
        root: the folder.
        skip: folders to leave out.
        seen: device and inode of folders that were looked into before; added to.

    Raises:
        UserError: a folder may not be read; photos in it would be missing without a word.
    """
    seen = set() if seen is None else seen
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            folder = root / below
            info = folder.stat()
            if folder in skip or (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            inner = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        inner.append(f"{below}{entry.name}/")
                    elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                        yield below + entry.name
            # of two links to one folder always the same is followed
            folders += sorted(inner, reverse=True)
        except FileNotFoundError:  # removed while we looked
            continue
        except OSError as error:
            raise UserError(f"source: cannot read {root / below}: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _glob(pattern: Path, skip: Collection[Path]) -> Source:
    fixed = list(takewhile(lambda part: not re.search(r"[*?[]", part), pattern.parts))
    root = Path(*fixed)
    names, seen = set[str](), set[tuple[int, int]]()
    try:
        # unlike the module glob it does not follow links for **, which can lead round in circles
        matches = sorted(root.glob(str(Path(*pattern.parts[len(fixed) :]))))
    except ValueError as error:
        raise UserError(f"source: {pattern} is no glob: {error}") from error
    for path in matches:
        name = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in name.split("/") if name != "."):
            continue
        if path.is_dir():
            prefix = "" if name == "." else f"{name}/"
            names.update(prefix + below for below in photos_below(path, skip, seen))
        elif path.suffix.lower() in IMAGE_SUFFIXES and not any(folder in path.parents for folder in skip):
            names.add(name)
    return Source(root, sorted(names))


def _lines(path: Path) -> Iterable[str]:
    # surrogateescape gives the file system back the bytes that stand in the list
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        return [line.rstrip("\n") for line in file if line.strip()]


def _column(path: Path) -> Iterable[str]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        try:
            columns = reader.fieldnames or []
            if "path" not in columns:
                raise UserError(f"{path}: expected a column 'path' in line 1, got: {', '.join(columns)}")
            return [row["path"] for row in reader if row["path"]]
        except csv.Error as error:
            raise UserError(f"{path}: expected a CSV, line {reader.line_num} is none ({error})") from error


def _name(listing: Path, entry: str) -> str:
    if "\0" in entry:
        raise UserError(f"source: expected a list of paths in {listing}, it is no text file")
    path = _absolute(entry, listing.parent)
    return path.relative_to(listing.parent).as_posix() if listing.parent in path.parents else str(path)


def _absolute(path: str, base: Path = Path()) -> Path:
    # not resolve(): a link keeps the name that it was given; and Path.expanduser fails on a file called ~x
    return Path(os.path.abspath(base / os.path.expanduser(path)))  # noqa: PTH100, PTH111
