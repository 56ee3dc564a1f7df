"""A run folder: the paths in it, and how to start, open and find one."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from qc_lightning.core.atomic import write_text
from qc_lightning.core.csv_files import read_table
from qc_lightning.core.errors import UserError
from qc_lightning.core.lock import is_held
from qc_lightning.core.reading import read_text
from qc_lightning.core.release import all_releases, path_of, read

OUTPUTS = Path("outputs")


@dataclass(frozen=True)
class Run:
    """One training's folder.

    Attributes:
        folder: `outputs/<date>/<time>`, or the folder of a job in a sweep.
        decision: digest of the decision in force, as a release names it; None for the newest.
        release: the release that it was opened by, if any.
    """

    folder: Path
    decision: str | None = None
    release: str = ""

    def __str__(self) -> str:
        return f"{self.folder} (release {self.release})" if self.release else str(self.folder)

    @property
    def argument(self) -> str:
        """`run=<folder>` as a word of a command to paste into a shell."""
        return shlex.quote(f"run={self.folder}")

    @property
    def record(self) -> Path:
        """config.yaml: the command and all settings."""
        return self.folder / "config.yaml"

    @property
    def split(self) -> Path:
        """split.csv: path,label,group,subset,sha256 of every photo."""
        return self.folder / "split.csv"

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint of the last finished epoch, to resume from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def history(self) -> Path:
        """history.csv: one row per epoch."""
        return self.folder / "history.csv"

    def read_history(self) -> list[dict[str, float | None]]:
        """The rows of history.csv as numbers; None if a metric was not measured."""
        records = read_table(self.history)
        return [{name: float(value) if value else None for name, value in row.items()} for row in records]

    @property
    def metrics(self) -> Path:
        """metrics.json: metrics with intervals of every subset."""
        return self.folder / "metrics.json"

    @property
    def validation(self) -> Path:
        """validation.csv: validation or out-of-fold photos with the probabilities that decision rules use."""
        return self.folder / "validation.csv"

    @property
    def decisions(self) -> Path:
        """decision.json: the decisions of this run, newest last."""
        return self.folder / "decision.json"

    @property
    def pictures(self) -> Path:
        """figures/: the charts."""
        return self.folder / "figures"

    def start(self, split: str) -> None:
        """Write split.csv, which makes the folder a run."""
        write_text(self.split, split)

    def resume(self, split: str) -> None:
        """Check that the run can be continued.

        Raises:
            UserError: it has no finished epoch, or was started on other photos.
        """
        if not self.last.is_file():
            raise UserError(
                f"resume: there is no {self.last}: no epoch was finished; remove {self.folder} and train again"
            )
        try:
            stored = read_text(self.split)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.split} is damaged ({' '.join(str(error).split())}): train again") from error
        if stored != split:
            raise UserError(f"resume: the photos or the split settings are not those of {self.split}; train again")

    @classmethod
    def open(cls, where: str | None, key: str = "run") -> "Run":
        """Open a run by its folder, by the name of a release, or the newest one by the word `latest`.

        Args:
            where: the user's value; None for the only release or, without one, the newest run.
            key: name of that setting. For `resume` the newest run is the one that was started last; for all others
                the one that was evaluated last and is not being trained again.

        Raises:
            UserError: there is no run there.
        """
        if where is None:
            releases = all_releases()
            if len(releases) > 1:
                names = ", ".join(release.name for release in releases)
                raise UserError(f"{key}: there are several releases, say which one: {names}")
            where = releases[0].name if releases else "latest"
        if where == "latest":
            return cls._latest(key)
        run = cls(Path(where).expanduser())
        if not run.split.is_file() and re.fullmatch(r"[\w.-]+", where) and path_of(where).is_file():
            release = read(where)
            run = cls(Path(release.run), release.digest, release.name)
            if not run.split.is_file():
                raise UserError(
                    f"{key}: release {where} names {release.run}, which is gone: put it back, or release another"
                )
        if not run.split.is_file() and run.record.is_file() and key == "resume":
            raise UserError(f"resume: {where} was stopped before it began to train; remove it and train again")
        if not run.split.is_file():
            raise UserError(
                f"{key}: expected a run folder (with split.csv and checkpoints/ in it), latest or a release, "
                f"got {where}"
            )
        return run

    @classmethod
    def _latest(cls, key: str) -> "Run":
        mark = "split.csv" if key == "resume" else "metrics.json"
        for path in sorted(OUTPUTS.glob(f"[0-9]*/*/{mark}"), key=lambda path: path.stat().st_mtime, reverse=True):
            run = cls(path.parent)
            if key == "resume" or (run.split.is_file() and not is_held(run.folder)):
                return run
        kind = "run" if key == "resume" else "finished run"
        raise UserError(f"{key}=latest: no {kind} below {OUTPUTS.resolve()}; train one or give its folder")
