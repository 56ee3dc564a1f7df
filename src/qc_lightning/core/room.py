"""Disk space for a command's output: checked before it works, with a one-line error if it runs out later."""

import errno
import tempfile
from pathlib import Path

from qc_lightning.core.errors import UserError

_LEAST = 1 << 16  # bytes; most commands write more; caches are not included
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


def check_room(folder: Path) -> None:
    """Check, before work starts, that files can be written to a folder; leaves nothing there.

    Args:
        folder: may be missing; then its nearest existing parent is tested.

    Raises:
        UserError: the place is full, read-only, forbidden, or a file.
    """
    try:
        nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest) as trial:
            trial.write(bytes(_LEAST))  # buffered: a bare write may stop short without an error
            trial.flush()
    except OSError as error:
        raise UserError(f"expected room for results in {folder}: {error.strerror}") from error


def without_room(error: OSError) -> str | None:
    """One line for a full, read-only or forbidden place or an unusable name; None for any other error."""
    if error.errno == errno.ENAMETOOLONG:
        name = str(error.filename)
        return f"expected a name that a file can have, got {name[:40]}... of {len(name)} characters: take a shorter one"
    if error.errno not in _NO_ROOM:
        return None
    return f"expected room for {error.filename or 'the results'}: {error.strerror}; make room or name another place"
