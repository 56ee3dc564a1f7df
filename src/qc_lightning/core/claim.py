"""Ownership of a result folder: one command claims it or places it complete; a training locks it while it works."""

import contextlib
import errno
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qc_lightning.core.atomic import write_text
from qc_lightning.core.errors import UserError
from qc_lightning.core.lock import held
from qc_lightning.core.room import check_room
from qc_lightning.core.run import Run


@contextmanager
def claimed(folder: Path, record: str, named: bool) -> Iterator[Run]:
    """Claim a folder for a new run, and hold it while the block runs.

    The claim is the run's `config.yaml`, created exclusively: of two trainings that start in one second, one gets the
    folder. A block that ends before its run has begun (before split.csv is there) leaves nothing behind.

    Args:
        folder: for the run.
        record: text of `config.yaml`.
        named: whether the user named the folder; the default one gets a suffix when it is taken.

    Raises:
        UserError: the folder contains a run or cannot be written to.
    """
    check_room(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    otherwise = "continue that run with resume={}"
    run = Run(_claim(folder, ("config.yaml", "split.csv", "checkpoints", ".hydra"), named, "run", otherwise))
    try:
        try:
            write_text(run.record, record)
        except OSError as error:
            raise UserError(f"expected room for a run in {run.folder}: {error.strerror}") from error
        with held(run.folder):
            yield run
    finally:
        if not run.split.exists():
            run.record.unlink(missing_ok=True)
            for path in dict.fromkeys((run.folder, *made)):
                with contextlib.suppress(OSError):  # others have put something there
                    path.rmdir()


def claim_sweep(folder: Path, named: bool) -> Path:
    """Claim a folder for a new sweep with an empty sweep.json; arguments and errors as for `claimed`."""
    check_room(folder)
    kept = ("sweep.json",)
    return _claim(folder, kept, named, "sweep", "continue it with sweep.resume={}")


def _claim(folder: Path, kept: Sequence[str], named: bool, what: str, otherwise: str) -> Path:
    """Create the first of `kept` in `folder`, or in a sibling folder, that contains none of `kept`."""
    for number in itertools.count(1):
        target = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            target.mkdir(parents=True, exist_ok=True)
            if not any((target / name).exists() for name in kept):
                (target / kept[0]).touch(exist_ok=False)
                return target
        except FileExistsError:
            if not target.is_dir():
                raise UserError(f"expected a folder for the {what}, {target} is a file") from None
        except OSError as error:
            raise UserError(f"expected a folder that can be written to, {target}: {error.strerror}") from error
        if named:
            raise UserError(f"{target} already holds a {what}: name another folder, or {otherwise.format(target)}")
    raise AssertionError("counting never ends")


def place_folder(complete: Path, folder: Path, named: bool, another: str) -> Path:
    """Give a complete folder its name; a default name gets a suffix if it is taken.

    Args:
        complete: the folder, from `unfinished_folder`.
        folder: its name, in the same parent.
        named: whether the user chose the name.
        another: what chose the name, for the message: a setting, such as "name=", or a word.

    Returns:
        The name that it got.

    Raises:
        UserError: something else has taken the name.
    """
    for number in itertools.count(1):
        target = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            return complete.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            if named:
                raise UserError(f"{target} already exists: give another {another}") from None
    raise AssertionError("counting never ends")
