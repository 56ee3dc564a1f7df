"""A run folder: what lies where in it, how to start, open and find one, how a file is written whole or not at all."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from qc_lightning.core.atomic import write_text
from qc_lightning.core.errors import UserError

OUTPUTS = Path("outputs")


@dataclass(frozen=True)
class Run:
    """One training's folder.

    Attributes:
        folder: `outputs/<date>/<time>`, or the folder of a job in a sweep.
    """

    folder: Path

    @property
    def split(self) -> Path:
        """path,label,group,subset,sha256 of every photo."""
        return self.folder / "split.csv"

    @property
    def best(self) -> Path:
        """Checkpoint of the epoch that validation chose."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint of the last finished epoch, to resume from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def history(self) -> Path:
        """A row an epoch."""
        return self.folder / "history.csv"

    @property
    def metrics(self) -> Path:
        """Figures with intervals of every subset."""
        return self.folder / "metrics.json"

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.folder / "figures"

    def start(self, split: str) -> None:
        """Claim the folder for a new run, with its split.csv.

        Raises:
            UserError: it already holds a run; two runs never share a folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.split.touch(exist_ok=False)
        except FileExistsError:
            raise UserError(
                f"{self.folder} already holds a run: start again for a folder of its own, "
                f"or go on with resume={self.folder}"
            ) from None
        write_text(self.split, split)

    def resume(self, split: str) -> None:
        """Check that the run can be gone on with.

        Raises:
            UserError: it has no finished epoch, or was begun on other photos than these.
        """
        if not self.last.is_file():
            raise UserError(f"resume: there is no {self.last}: no epoch was finished; train anew")
        if self.split.read_text(encoding="utf-8") != split:
            raise UserError(f"resume: the photos or the split settings are not those of {self.split}; train anew")

    @classmethod
    def open(cls, where: str) -> "Run":
        """Open a run by its folder, or the newest one by the word `latest`.

        Raises:
            UserError: there is no run there.
        """
        if where == "latest":
            runs = sorted(OUTPUTS.glob("[0-9]*/*/split.csv"), key=lambda path: path.stat().st_mtime)
            if not runs:
                raise UserError(f"run=latest: no run below {OUTPUTS.resolve()}; train one or give its folder")
            return cls(runs[-1].parent)
        folder = Path(where).expanduser()
        if not (folder / "split.csv").is_file():
            raise UserError(f"expected a run folder (with split.csv and checkpoints/ in it), got {where}")
        return cls(folder)


def discard_unstarted(folder: Path) -> None:
    """Remove a folder in which nothing but Hydra's own record of the call lies, and the date above it when empty."""
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {".hydra"}:
        shutil.rmtree(folder)
        if folder.parent.is_dir() and not any(folder.parent.iterdir()):
            folder.parent.rmdir()
