"""A run folder: what lies where in it, how to start, open and find one, how a file is written whole or not at all."""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    @classmethod
    def of_job(cls) -> "Run":
        """The folder that Hydra gave this job, not claimed yet."""
        from hydra.core.hydra_config import HydraConfig

        return cls(Path(HydraConfig.get().runtime.output_dir))

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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, and rename it to `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file as text; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; a number that is not finite is refused, never written as NaN."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def discard_unstarted(folder: Path) -> None:
    """Remove a folder in which nothing but Hydra's own record of the call lies, and the date above it when empty."""
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {".hydra"}:
        shutil.rmtree(folder)
        if folder.parent.is_dir() and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
