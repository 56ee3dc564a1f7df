"""A sweep's folder: the plan, one folder per job with its result, the table and the page."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qc_lightning.config.build import build
from qc_lightning.core.atomic import write_json
from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import RECORD, read_text
from qc_lightning.core.run import OUTPUTS
from qc_lightning.sweep.points import Plan


@dataclass(frozen=True)
class Record:
    """The result of a job.

    Attributes:
        status: finished | failed.
        seconds: duration of the job.
        message: why it failed, in one line.
        val: validation metrics, each with value, low and high, as in metrics.json.
        threshold: threshold of its decision.
        epochs: number of epochs up to its best checkpoint.
    """

    status: str
    seconds: float
    message: str = ""
    val: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    threshold: float | None = None
    epochs: int | None = None

    @property
    def finished(self) -> bool:
        """Whether the job has metrics."""
        return self.status == "finished"

    def write(self, folder: Path) -> None:
        """Write it to the job's folder."""
        write_json(folder / "job.json", asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """Read the result in a job's folder; None if there is none yet."""
        path = folder / "job.json"
        try:
            record = build(cls, json.loads(read_text(path, RECORD)))
            if not all({"value", "low", "high"} <= figure.keys() for figure in record.val.values()):
                raise ValueError("a figure lacks its interval")
            return record
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, AttributeError, UserError) as error:
            reason = " ".join(str(error).split())
            return cls("failed", 0.0, f"{path} is damaged ({reason}): sweep.resume={folder.parent} runs the job again")


@dataclass(frozen=True)
class Sweep:
    """A sweep on disk.

    Attributes:
        folder: `outputs/sweeps/<date>/<time>`.
        command: the arguments of its first start.
        objective: the metric that ranks the points, with the prefix `val_`.
        plan: its jobs.
    """

    folder: Path
    command: list[str]
    objective: str
    plan: Plan

    def job(self, number: int) -> Path:
        """Folder of a job."""
        return self.folder / str(number)

    @property
    def winner(self) -> Path:
        """Folder of the winner's training on train and val together."""
        return self.folder / "winner"

    def records(self) -> dict[int, Record]:
        """The results of the ended jobs, by number."""
        records = {job.number: Record.read(self.job(job.number)) for job in self.plan.jobs}
        return {number: record for number, record in records.items() if record is not None}

    def write(self) -> None:
        """Write sweep.json."""
        content = {"command": self.command, "objective": self.objective, **asdict(self.plan)}
        write_json(self.folder / "sweep.json", content)

    @classmethod
    def open(cls, where: str, key: str) -> "Sweep":
        """Open a sweep by its folder, or the newest one by the word `latest`.

        Args:
            where: the user's value.
            key: name of that setting.

        Raises:
            UserError: there is no sweep there.
        """
        folder = Path(where).expanduser()
        if where == "latest":
            sweeps = sorted(OUTPUTS.glob("sweeps/*/*/sweep.json"), key=lambda path: path.stat().st_mtime)
            if not sweeps:
                raise UserError(f"{key}=latest: no sweep below {OUTPUTS.resolve()}; begin one or give its folder")
            folder = sweeps[-1].parent
        try:
            content = json.loads(read_text(folder / "sweep.json", RECORD))
            total = content.get("total", len(content["jobs"]))  # older sweeps had all jobs from the start
            plan = build(Plan, {"fixed": content["fixed"], "jobs": content["jobs"], "total": total})
            if len({(frozenset(job.point), frozenset(job.repeat)) for job in plan.jobs}) > 1:
                raise ValueError("its jobs try different settings")
            return cls(folder, [str(word) for word in content["command"]], str(content["objective"]), plan)
        except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError, UserError):
            raise UserError(f"{key}: expected a sweep's folder (with a readable sweep.json), got {where}") from None


def without(arguments: Sequence[str], *keys: str) -> list[str]:
    """The arguments without these keys; `sweep` also stands for `sweep.<anything>`."""

    def key_of(argument: str) -> str:
        return argument.lstrip("+~").split("=")[0]

    def named(key: str) -> bool:
        return any(key == name or key.startswith(f"{name}.") for name in keys)

    return [argument for argument in arguments if not named(key_of(argument))]


def clear(folder: Path) -> None:
    """Remove the leftovers of an earlier attempt from a job's folder."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
