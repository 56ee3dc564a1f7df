"""The folder of an explanation: it gets results that belong together, or keeps those that it has."""

import shutil
from contextlib import suppress
from pathlib import Path

from qc_lightning.core.atomic import UNFINISHED, read_json
from qc_lightning.core.errors import UserError

_TABLES = ("explain.csv", "explain.json")


def free_folder(folder: Path) -> Path:
    """Check that the folder is new, empty, or holds an earlier explanation, which is replaced.

    Returns:
        Where to work: its parent, or the folder itself if it exists, since it may be another file system.

    Raises:
        UserError: it holds something else.
    """
    if not folder.is_dir():
        return folder.parent
    others = [path for path in folder.iterdir() if not path.name.startswith(UNFINISHED)]
    if others and not (folder / _TABLES[0]).is_file():
        raise UserError(f"output: expected a new folder or one with an earlier explanation, got {folder}: give another")
    return folder


def publish(complete: Path, folder: Path) -> None:
    """Move a complete explanation to its folder.

    Sheets of an earlier explanation are removed, and its overlays, which the report uses, if they are of another model.
    The tables come before the pictures, because they tell a prediction that those are none of its photos.

    Args:
        complete: explain.csv, explain.json, sheets/ and overlays.
        folder: may hold an earlier explanation.
    """
    if not folder.exists():
        complete.rename(folder)
        return
    shutil.rmtree(folder / "sheets", ignore_errors=True)
    if _model_of(folder) != _model_of(complete):
        for overlay in list(folder.glob("*.png")):
            overlay.unlink()
    pictures = [path.name for path in complete.iterdir() if path.name not in _TABLES]
    for name in (*_TABLES, *pictures):
        (complete / name).replace(folder / name)


def _model_of(folder: Path) -> object:
    """The id of the explained model; None if the folder does not tell."""
    with suppress(UserError):
        return read_json(folder / _TABLES[1]).get("model_id")
    return None
