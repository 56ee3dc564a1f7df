"""Files read within bounds: a pipe would wait, a device has no end, and what claims to be small may not be."""

import os
import stat
from pathlib import Path

TABLE, RECORD = 1 << 30, 1 << 26  # bytes: a row a photo for millions of them; JSON takes ten times its size in memory


def read_bytes(path: Path, most: int = TABLE) -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file; a link is followed.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger; `strerror` says why.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # asked before it is opened, which waits for a pipe's other end
        raise OSError(None, "not a regular file", str(path))
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(None, f"larger than {most >> 20:,} MB", str(path))
        return file.read(size)  # some of /proc say 0 and have no end


def read_text(path: Path, most: int = TABLE, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text of a regular file, line ends as they are; arguments and errors as of `read_bytes`.

    Raises:
        UnicodeDecodeError: it is no text of that encoding.
    """
    return read_bytes(path, most).decode(encoding, errors)
