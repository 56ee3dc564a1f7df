"""Find photos that already have a row for their current bytes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qc_lightning.core.bars import Progress
from qc_lightning.core.fingerprint import sha256_of
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.core.system import cores

_AT_A_TIME = 256  # photos between two checks for a stop


def same_bytes(files: Sequence[tuple[Path, str]], stop: StopRequest) -> list[bool]:
    """Whether each file still has the bytes of its row; reads all files without decoding.

    Times and sizes are not compared: a photo that replaces another under its name often keeps both.

    Args:
        files: path and the row's SHA-256, empty if the photo could not be read then.
        stop: ends the check early; the remaining files count as changed.
    """
    same: list[bool] = []
    with (
        Progress(total=len(files), desc="comparing photos with their rows", unit="photo", delay=2.0) as bar,
        ThreadPoolExecutor(cores()) as pool,
    ):
        for start in range(0, len(files), _AT_A_TIME):
            if stop.signal:
                break
            some = files[start : start + _AT_A_TIME]
            same += pool.map(lambda file: sha256_of(file[0]) == file[1], some)
            bar.update(len(some))
    return same + [False] * (len(files) - len(same))
