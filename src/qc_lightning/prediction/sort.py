"""Photos into PASS/, REJECT/ and REVIEW/, as copies or links; no photo is ever overwritten."""

import errno
import filecmp
import os
import shutil
from pathlib import Path

from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError


class Sorter:
    """Puts each photo below the folder of its verdict, under its path relative to the source.

    Args:
        folder: holds the folders of the verdicts; made when the first photo is put in.
        root: the source's folder. A photo elsewhere keeps its whole path below the verdict's folder.
        link: symbolic links to the photos instead of copies.
    """

    def __init__(self, folder: Path, root: Path, link: bool) -> None:
        self._folder, self._root, self._link = folder, root, link

    def put(self, path: Path, verdict: str, sha256: str) -> str:
        """Put one photo in its place; one that is there already, from before a kill, stays.

        Another photo of the same name is in the way only if an earlier prediction was sorted into the same folder; then
        the name gets the first digits of the photo's SHA-256.

        Args:
            path: absolute.
            verdict: name of the folder.
            sha256: of the photo's bytes, hex.

        Returns:
            Why the photo is not there, empty when it is.

        Raises:
            UserError: the folder cannot be written.
        """
        target = self._folder / verdict / place_of(path, self._root)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for place in (target, target.with_stem(f"{target.stem}-{sha256[:16]}")):
                if self._is_there(path, place):
                    return ""
        except OSError as error:
            if not path.exists():
                return "gone before it could be sorted"
            raise UserError(
                f"sort: cannot put {path} to {target}: {os.strerror(error.errno or errno.EIO)}; "
                "mend that and go on with resume=true"
            ) from error
        return f"another photo is in its place: {target}"

    def _is_there(self, path: Path, place: Path) -> bool:
        """Put the photo to `place`; false when another one is there."""
        if self._link:
            try:
                place.symlink_to(path)
            except FileExistsError:
                return place.is_symlink() and place.readlink() == path
            return True
        if os.path.lexists(place):
            return place.is_file() and filecmp.cmp(path, place, shallow=False)
        with replacing(place) as temporary:
            shutil.copy2(path, temporary)
        return True


def place_of(path: Path, root: Path) -> Path:
    """Where in a folder of its own a photo belongs: as below `root`, or its whole path when it lies elsewhere."""
    # ".." and a link's detours must not lead out of the folder
    plain = Path(os.path.normpath(path))
    return plain.relative_to(root) if root in plain.parents else plain.relative_to(plain.anchor)
