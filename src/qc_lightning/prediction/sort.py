"""Sort photos into PASS/, REJECT/ and REVIEW/ as copies or links; no photo is ever overwritten."""

import errno
import os
import shutil
from pathlib import Path

from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError
from qc_lightning.core.fingerprint import sha256_of

NAME_ERRORS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""Errors about a single name; later photos may succeed."""


class ChangedError(Exception):
    """A photo has changed since it was inspected."""


class Sorter:
    """Puts each photo into the folder of its verdict, under its path relative to the source.

    Args:
        folder: parent of the verdicts' folders, created with the first photo.
        root: the source's folder. A photo elsewhere keeps its full path below the verdict's folder.
        link: make symbolic links instead of copies.
    """

    def __init__(self, folder: Path, root: Path, link: bool) -> None:
        self._folder, self._root, self._link = folder, root, link

    def put(self, path: Path, verdict: str, sha256: str) -> str:
        """Put one photo in its place; a copy from before a kill is kept.

        If the name is taken by another photo (of an earlier prediction, or of this file before a change), the first
        digits of the photo's SHA-256 are added to the name. A link from an earlier verdict, in another folder, is
        removed: it would now lead to this photo.

        Args:
            path: absolute path of the photo.
            verdict: name of the folder.
            sha256: digest of the photo's bytes, hex.

        Returns:
            Why the photo was not placed; empty if it was.

        Raises:
            UserError: the folder cannot be written.
        """
        place = place_of(path, self._root)
        target = self._folder / verdict / place
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if self._link:
                self._unlink_elsewhere(path, verdict, place)
            for candidate in (target, target.with_stem(f"{target.stem}-{sha256[:16]}")):
                if self._is_there(path, candidate, sha256):
                    return ""
        except ChangedError:
            return "changed before it could be sorted: resume=true inspects it again"
        except OSError as error:
            if not path.exists():
                return "gone before it could be sorted"
            if error.errno in NAME_ERRORS:
                return f"not sorted: {os.strerror(error.errno).lower()}"
            raise UserError(
                f"sort: cannot put {path} to {target}: {os.strerror(error.errno or errno.EIO)}; "
                "mend that and continue with resume=true"
            ) from error
        return f"another photo is in its place: {target}"

    def _unlink_elsewhere(self, path: Path, verdict: str, place: Path) -> None:
        for folder in self._folder.iterdir():
            link = folder / place
            if folder.name != verdict and link.is_symlink() and link.readlink() == path:
                link.unlink()

    def _is_there(self, path: Path, place: Path, sha256: str) -> bool:
        """Put the photo at `place`; False if another file is there."""
        if self._link:
            try:
                place.symlink_to(path)
            except FileExistsError:
                return place.is_symlink() and place.readlink() == path
            return True
        if os.path.lexists(place):
            return sha256_of(place) == sha256
        with replacing(place, durable=False) as temporary:
            shutil.copy2(path, temporary)
            if sha256_of(temporary) != sha256:
                raise ChangedError
        return True


def place_of(path: Path, root: Path) -> Path:
    """Relative path of a photo in a verdict's folder: relative to `root`, or its full path if it is elsewhere."""
    # ".." and links must not lead out of the folder
    plain = Path(os.path.normpath(path))
    return plain.relative_to(root) if root in plain.parents else plain.relative_to(plain.anchor)
