"""The folder of an explanation: it gets results that belong together, or keeps those that it has."""

import shutil
from contextlib import suppress
from pathlib import Path

from qc_lightning.core.atomic import read_json
from qc_lightning.core.errors import UserError

_TABLES = ("explain.csv", "explain.json")


def check_free(folder: Path) -> None:
    """Check that the folder is new, empty, or holds an earlier explanation, which is replaced.

    Raises:
        UserError: it holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _TABLES[0]).is_file():
        raise UserError(f"output: expected a new folder or one with an earlier explanation, got {folder}: give another")


def publish(complete: Path, folder: Path) -> None:
    """Move a complete explanation to its folder.

    The tables come first, because they tell a prediction that the pictures are none of its photos. The sheets of an
    earlier explanation are removed; its overlays are kept for the report if they are of the same model.

    Args:
        complete: explain.csv, explain.json, sheets/ and overlays.
        folder: may hold an earlier explanation.
    """
    if not folder.exists():
        complete.rename(folder)
        return
    same_model = _model_of(folder) == _model_of(complete)
    for name in _TABLES:
        (complete / name).replace(folder / name)
    shutil.rmtree(folder / "sheets", ignore_errors=True)
    for overlay in [] if same_model else list(folder.glob("*.png")):
        overlay.unlink()
    for path in complete.iterdir():
        path.replace(folder / path.name)


def _model_of(folder: Path) -> object:
    """The id of the explained model; None if the folder does not tell."""
    with suppress(UserError):
        return read_json(folder / _TABLES[1]).get("model_id")
    return None
