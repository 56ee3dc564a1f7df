"""Find the photos in a folder, for training and prediction alike; everything left out is reported."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePath

from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.image_file import IMAGE_SUFFIXES, looks_like_image, unread_ending

_IMAGES = (
    ".heic .heif .hif .avif .jxl .jxr .dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .srw .orf .rw2 .raf .pef .3fr .iiq "
    ".raw .psd .psb .exr .hdr .tga .dcm .ico .pcx .sgi .svg .eps .jpx .jpf .j2c .djvu .dib .dds .xcf .qoi"
)
_OTHERS = ".txt .csv .json .jsonl .xml .yaml .yml .html .md .log .ini .db .lnk .pdf .zip .npy .npz .mp4 .avi .mov"
_UNREAD_SUFFIXES, _OTHER_SUFFIXES = frozenset(_IMAGES.split()), frozenset(_OTHERS.split())
"""Extensions of images that `decode` does not read, and of other files next to photos, which are not opened."""

_NAS = ("@eadir", "@recycle", "#recycle", "#snapshot", "@recently-snapshot")
_COMPUTER = ("$recycle.bin", "recycler", "system volume information", "found.000", "__macosx", "lost+found")
_SYSTEM_FOLDERS = frozenset((*_NAS, *_COMPUTER))
"""Folders of devices and operating systems, in lower case: previews and deleted files."""

# files that identify folders written by this package: a run, a sweep, explanations, an audit
_OWN = (
    {"split.csv", "checkpoints"},
    {"sweep.csv", "sweep.html"},
    {"explain.csv", "explain.json"},
    {"audit.csv", "audit.json"},
)
_OWN_ENDINGS, _OUTPUTS = ("_sorted", "_overlays"), (".csv", ".jsonl", ".parquet", ".xlsx")
_OWN_FOLDERS, _LINKS = "folders that qc-lightning has written", "links to folders that are looked into anyway"


class Walk:
    """The photos in a folder and its subfolders.

    Hidden files and folders are not photos. Links to folders are followed when they lead out of the folder, each target
    once: what a link to a folder above it, or to a place inside, leads to is found anyway.

    Args:
        root: the folder.
        skip: folders to leave out silently.
        home: links that lead to a place in this folder are not followed; the root itself when None.

    Attributes:
        unread: names and reasons of what may be photos but is not read: images with other extensions, folders that
            cannot be opened. Complete after `photos` has ended, like the next.
        passed_over: how many folders were left out, by kind.
    """

    def __init__(self, root: Path, skip: Collection[Path] = (), home: Path | None = None) -> None:
        self.root = root
        self.unread: list[tuple[str, str]] = []
        self.passed_over: Counter[str] = Counter()
        self._skip = skip
        self._real, self._home = os.path.realpath(root), os.path.realpath(home or root)
        self._seen: set[tuple[int, int]] = set()

    def photos(self) -> Iterator[str]:
        """Names of the photos below the root, with forward slashes, in no order.

        Raises:
            UserError: the root itself cannot be read.
        """
        folders = [("", self._real)]
        while folders:
            below, real = folders.pop()
            try:
                with os.scandir(self.root / below) as listing:
                    entries = sorted((entry for entry in listing if entry.name[0] != "."), key=lambda entry: entry.name)
            except FileNotFoundError:  # removed while we looked
                continue
            except OSError as error:
                reason = str(error.strerror).lower()
                if not below:
                    raise UserError(f"cannot read the folder {self.root}: {reason}") from error
                self.unread.append((below.rstrip("/"), f"folder cannot be read: {reason}"))
                continue
            names = {entry.name for entry in entries}
            if below and any(marks <= names for marks in _OWN):
                self.passed_over[_OWN_FOLDERS] += 1
                continue
            inner = []
            for entry in entries:
                name = below + entry.name
                if _is_folder(entry):
                    if reason := self._passes_over(entry, real, names):
                        self.passed_over[reason] += 1
                    elif Path(entry.path) not in self._skip:
                        inner.append((f"{name}/", os.path.realpath(entry.path)))
                elif is_photo(Path(entry.path)):
                    yield name
                elif reason := why_unread(Path(entry.path)):
                    self.unread.append((name, reason))
            folders += reversed(inner)

    def _passes_over(self, entry: os.DirEntry[str], above: str, names: set[str]) -> str:
        """Why a folder is skipped; empty if it is not."""
        if entry.name.lower() in _SYSTEM_FOLDERS:
            return "folders of the system (previews, deleted files)"
        stem = next((entry.name.removesuffix(end) for end in _OWN_ENDINGS if entry.name.endswith(end)), None)
        if stem is not None and any(stem + suffix in names for suffix in _OUTPUTS):
            return _OWN_FOLDERS
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if _inside(real, self._home) or _inside(above, real):
                return _LINKS
        try:
            info = Path(entry.path).stat()
        except OSError:  # missing or inaccessible: reported when it is opened
            return ""
        if (info.st_dev, info.st_ino) in self._seen:
            return _LINKS
        self._seen.add((info.st_dev, info.st_ino))
        return ""


def is_photo(path: Path) -> bool:
    """Whether a file is a photo, by its extension or, without one, by its first bytes."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (not suffix and looks_like_image(path))


def why_unread(path: Path) -> str:
    """Why a file that may be a photo, by its extension or its first bytes, is not read; empty for other files."""
    suffix = path.suffix.lower()
    is_image = suffix in _UNREAD_SUFFIXES or (suffix not in _OTHER_SUFFIXES and looks_like_image(path))
    return unread_ending(path) if is_image else ""


def may_be_photo(name: PurePath) -> bool:
    """Whether a file is a photo or an unread image by its extension alone, without opening it."""
    suffix = name.suffix.lower()
    return suffix in IMAGE_SUFFIXES or suffix in _UNREAD_SUFFIXES


def in_words(unread: Sequence[tuple[str, str]]) -> str:
    """One sentence that counts and names what was left out; empty if nothing was."""
    if not unread:
        return ""
    reasons = Counter(reason for _, reason in unread)
    counted = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(6))
    names = ", ".join(name for name, _ in unread[:3])
    return f"Files and folders left out: {len(unread)}, for example {names} ({counted})."


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
