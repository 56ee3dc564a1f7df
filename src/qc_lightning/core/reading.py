"""Read files with a size limit, and regular files only: pipes block and devices never end."""

import os
import stat
from pathlib import Path

TABLE, RECORD = 1 << 30, 1 << 26  # bytes: rows of millions of photos; JSON takes ten times its size in memory


def read_bytes(path: Path, most: int = TABLE) -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file; a link is followed.
        most: largest size in bytes.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger; `strerror` says which.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # checked before opening, which would block on a pipe
        raise OSError(None, "not a regular file", str(path))
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(None, f"larger than {most >> 20:,} MB", str(path))
        return file.read(size)  # some of /proc say 0 and have no end


def read_text(path: Path, most: int = TABLE, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text of a regular file with its line ends; arguments and errors as for `read_bytes`.

    Raises:
        UnicodeDecodeError: it is not text in that encoding.
    """
    return read_bytes(path, most).decode(encoding, errors)
