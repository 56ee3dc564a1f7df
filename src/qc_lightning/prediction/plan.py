"""What a prediction is going to do, checked before anything slow starts."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qc_lightning.config import PredictConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.data.catalog import path_text
from qc_lightning.inference.sources import Source, find_photos, watched_folder
from qc_lightning.inference.watch import FolderWatcher
from qc_lightning.prediction.output import Written, read_written
from qc_lightning.prediction.rows import Row
from qc_lightning.prediction.shards import Shard
from qc_lightning.prediction.sort import Sorter

if TYPE_CHECKING:  # they need torch
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.inference.stream import Inspection


@dataclass(frozen=True)
class Plan:
    """The photos to look at and where their rows and copies go.

    Attributes:
        run: the training whose model decides.
        shard: this process's share.
        output: this process's file of rows.
        written: what the output holds already.
        source: the photos of this share that have no row yet; while watching none yet.
        arrivals: the watched folder, or None.
        sorter: puts photos into folders by verdict, or None.
        overlays: the folder for pictures of rejects, or None.
    """

    run: Run
    shard: Shard
    output: Path
    written: Written
    source: Source
    arrivals: FolderWatcher | None
    sorter: Sorter | None
    overlays: Path | None

    @classmethod
    def of(cls, config: PredictConfig, shard: Shard) -> "Plan":
        """Find the run, the photos of a share and its output.

        Raises:
            UserError: one of them is not what it must be.
        """
        run, asked = Run.open(config.run), Path(config.output).expanduser().absolute()
        output = shard.output(asked)
        sorted_photos, overlays = (asked.with_name(f"{asked.stem}_{kind}") for kind in ("sorted", "overlays"))
        written = read_written(output, config.resume)
        wanted_folders = {sorted_photos: config.sort != "none", overlays: config.overlays}
        for folder, wanted_now in wanted_folders.items():
            if wanted_now and folder.exists() and not config.resume and shard.count == 1:
                raise UserError(f"{folder} is already there: move it, or give another output=")
        find = watched_folder if config.watch else find_photos
        source = find(str(config.source), wanted_folders)

        def wanted(name: str) -> bool:
            return shard.holds(name) and path_text(str(source.root / name)) not in written.paths

        arrivals = FolderWatcher(source.root, wanted_folders, wanted) if config.watch else None
        todo = Source(source.root, list(filter(wanted, source.names)))
        sorter = Sorter(sorted_photos, source.root, config.sort == "link") if config.sort != "none" else None
        return cls(run, shard, output, written, todo, arrivals, sorter, overlays if config.overlays else None)

    def check_model(self, model_id: str) -> None:
        """Refuse to add a model's rows to another one's.

        Raises:
            UserError: the rows that are there come from another model.
        """
        if others := self.written.models - {model_id}:
            raise UserError(
                f"{self.output} holds verdicts of model {min(others)}, {self.run.folder} is {model_id}: "
                "give that model's run=, or another output="
            )

    def __str__(self) -> str:
        share = f" of share {self.shard.number} of {self.shard.count}" if self.shard.count > 1 else ""
        before = f", {self.begun} are done" if self.begun else ""
        if self.arrivals:
            return f"watching {self.source.root}{share}{before}; Ctrl-C ends"
        return f"{self.total} photos{share}{before}"

    @property
    def begun(self) -> int:
        """Rows that the output has already."""
        return len(self.written.paths)

    @property
    def total(self) -> int | None:
        """Rows that the output will have; not known while watching."""
        return None if self.arrivals else self.begun + len(self.source.names)

    def drawer(self, inspector: "Inspector") -> Callable[[Path, str], str] | None:
        """What draws rejects, if they are to be drawn: given a file and its verdict it returns why it could not."""
        if self.overlays is None:
            return None
        from qc_lightning.prediction.overlays import Overlays

        return Overlays(inspector, self.overlays, self.source.root).put

    def rounds(self, stop: StopRequest) -> Iterator[Iterable[Path]]:
        """The files to look at: all at once, or while watching in one round after the other."""
        if self.arrivals:
            return self.arrivals.rounds(stop)
        return iter([(self.source.root / name for name in self.source.names)])

    def row(self, found: "Inspection", model_id: str, draw: Callable[[Path, str], str] | None) -> Row | None:
        """What is written of a photo, after it was put into its folder; None for one that may still be on its way.

        Args:
            found: about the photo.
            model_id: of the model.
            draw: as `drawer` gives it.
        """
        if self.arrivals and not self.arrivals.settled(found.path, readable=not found.error):
            return None
        error = found.error
        if self.sorter and found.verdict:
            error = error or self.sorter.put(found.path, found.verdict, found.sha256)
        if draw and found.verdict:
            error = error or draw(found.path, found.verdict)
        return Row(
            path=path_text(str(found.path)),
            sha256=found.sha256 or None,
            probability=found.probability,
            verdict=found.verdict or None,
            seconds=round(found.seconds, 6),
            model_id=model_id,
            error=path_text(" ".join(error.split())) or None,
        )

    def ending(self, counts: Counter[str], done: int, complete: bool, stop: StopRequest) -> int:
        """Say how it went; return the exit code.

        Args:
            counts: rows by verdict, and those with an error as `error`.
            done: rows that the output has.
            complete: whether these are all, as far as one can tell.
            stop: what has ended it, if anything.
        """
        verdicts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if name != "error")
        print(f"{self.output}: {verdicts or 'no verdict'}")
        if not complete:
            print(f"stopped: {done} of {self.total} photos are done, resume=true goes on", file=sys.stderr)
            return 128 + stop.signal
        if self.arrivals and (left := self.arrivals.unsettled):
            print(f"still on their way and without a row: {left}; resume=true goes on", file=sys.stderr)
        if errors := counts["error"]:
            print(f"photos with an error instead of a verdict: {errors}; the column error says why", file=sys.stderr)
        return 3 if errors else 0
