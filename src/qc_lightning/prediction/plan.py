"""Plan a prediction, with all checks before anything slow starts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qc_lightning.config import PredictConfig
from qc_lightning.core.csv_files import Marks
from qc_lightning.core.errors import UserError
from qc_lightning.core.fingerprint import Stamp, stamp_of
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.data.catalog import path_text
from qc_lightning.data.sources.remote import is_address
from qc_lightning.inference.sources import Source, find_photos, watched_folder
from qc_lightning.inference.watch import FolderWatcher
from qc_lightning.prediction.done import same_bytes
from qc_lightning.prediction.model import ADVICE, Model, open_model
from qc_lightning.prediction.output import Written, read_written, rows_of
from qc_lightning.prediction.parts import PartFile, PartRule, check_parts_file, part_rule
from qc_lightning.prediction.photo_row import row_of, unless_changed
from qc_lightning.prediction.rows import Row
from qc_lightning.prediction.shards import Shard
from qc_lightning.prediction.sort import Sorter

if TYPE_CHECKING:  # they need torch
    from qc_lightning.core.bars import Progress
    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.inference.inspection import CameraPhoto, Inspection
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.inference.validity import Certificate

    Draw = Callable[[CameraPhoto, str, str], str]


@dataclass(frozen=True)
class Plan:
    """The photos to inspect, and the outputs.

    Attributes:
        model: the run or the exported inspector.
        shard: this process's share.
        output: this process's file of rows.
        written: existing content of the output.
        parts: assigns photos to parts.
        source: the photos of this shard; after `without_done` only those without a row for their current bytes; empty
            while watching.
        camera: camera of all photos except those in `cameras`; empty if unknown.
        cameras: the camera of a photo, by its path.
        stale: photos that have changed since their newest row.
        handed: stamps of the photos being inspected, taken before.
        arrivals: the watched folder, or None.
        sorter: puts photos into folders by verdict, or None.
        overlays: the folder for pictures of rejects, or None.
    """

    model: Model
    shard: Shard
    output: Path
    written: Written
    source: Source
    parts: PartRule
    arrivals: FolderWatcher | None
    sorter: Sorter | None
    overlays: Path | None
    camera: str = ""
    cameras: dict[Path, str] = field(default_factory=dict)
    stale: int = 0
    handed: dict[Path, Stamp | None] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: PredictConfig, shard: Shard) -> "Plan":
        """Find the run, the photos of this shard and its output.

        Raises:
            UserError: one of them cannot be used.
        """
        model, asked = open_model(config.run), Path(str(config.output)).expanduser().absolute()
        output = shard.output(asked)
        sorted_photos, overlays = (asked.with_name(f"{asked.stem}_{kind}") for kind in ("sorted", "overlays"))
        written = read_written(output, config.resume, Marks(config.separator, config.decimal))
        wanted_folders = {sorted_photos: config.sort != "none", overlays: config.overlays}
        for folder, wanted_now in wanted_folders.items():
            if wanted_now and folder.exists() and not config.resume and shard.count == 1:
                raise UserError(f"{folder} already exists: move it, or give another output=")
        find = watched_folder if config.watch else find_photos
        address = str(config.source) if is_address(str(config.source)) else None
        source = Source(Path(), []) if address else find(str(config.source), wanted_folders)
        if address := address or next(filter(is_address, source.names), None):
            raise UserError(f"source: {address} is in object storage: give engine=ray ray.address=local")
        parts = part_rule(config, model, source)
        check_parts_file(output, parts, config.resume, written.marks)

        def judged(name: str) -> str | None:
            return written.sha256.get(path_text(str(source.root / name)))

        def wanted(name: str) -> bool:
            # all photos of a part go to one shard
            part = name if parts.kind == "none" else parts.part(path_text(str(source.root / name)))
            return shard.count == 1 or shard.holds(part)

        arrivals = FolderWatcher(source.root, wanted_folders, wanted, judged) if config.watch else None
        ours = replace(source, names=list(filter(wanted, source.names)))
        sorter = Sorter(sorted_photos, source.root, config.sort == "link") if config.sort != "none" else None
        cameras = {source.root / name: camera for name, camera in source.cameras.items()}
        drawn = overlays if config.overlays else None
        return cls(model, shard, output, written, ours, parts, arrivals, sorter, drawn, config.camera or "", cameras)

    def without_done(self, stop: StopRequest) -> "Plan":
        """Remove the photos that already have a row for their current bytes."""
        root, names, sha256 = self.source.root, self.source.names, self.written.sha256
        digests = {name: sha256[text] for name in names if (text := path_text(str(root / name))) in sha256}
        same = same_bytes([(root / name, digest) for name, digest in digests.items()], stop)
        done = {name for name, is_same in zip(digests, same, strict=True) if is_same}
        todo = replace(self.source, names=[name for name in names if name not in done])
        return replace(self, source=todo, stale=len(digests) - len(done))

    def announce(self, inspector: "Inspector | ExportedInspector") -> None:
        """Print the plan and any doubts about the model.

        Raises:
            UserError: the existing rows are from another model, or the model has no region for the camera.
        """
        from qc_lightning.prediction.summary import announce, check_rows

        check_rows(self.model, inspector, self.output, self.written)
        if self.camera or not self.cameras:
            inspector.decode.check_camera(self.camera, ADVICE)
        announce(self.model, inspector, self)

    def __str__(self) -> str:
        shard_words = f" of share {self.shard.number} of {self.shard.count}" if self.shard.count > 1 else ""
        before = f", {self.begun} are done" if self.begun else ""
        before += f", {self.stale} have changed since their row and get another" if self.stale else ""
        if self.arrivals:
            return f"watching {self.source.root}{shard_words}{before}; Ctrl-C ends"
        left_out = "".join(f"; left out: {what}: {count}" for what, count in sorted(self.source.passed_over.items()))
        return f"{self.total} photos{shard_words}{before}{left_out}"

    @property
    def unsettled(self) -> int:
        """Number of files of a watched folder that are still changing."""
        return self.arrivals.unsettled if self.arrivals else 0

    @property
    def begun(self) -> int:
        """Number of photos that already have a row for their current bytes."""
        return len(self.written.sha256) - self.stale

    @property
    def total(self) -> int | None:
        """Number of photos that will have a row; unknown while watching."""
        return None if self.arrivals else self.begun + len(self.source.names)

    def bar(self) -> "Progress":
        """The progress bar."""
        from qc_lightning.core.bars import Progress

        shape = "{n_fmt} photos" if self.total is None else None  # while watching the total is unknown
        return Progress(total=self.total, initial=self.begun, unit="photo", mininterval=0.2, bar_format=shape)

    def part_file(self) -> PartFile:
        """The file of parts, including photos that already have a row."""
        earlier = rows_of(self.output, self.written.marks) if self.parts.kind != "none" and self.written.end else ()
        return PartFile(self.output, self.parts, self.arrivals is not None, self.written.marks, earlier)

    def drawer(self, inspector: "Inspector | ExportedInspector") -> "Draw | None":
        """The function that draws rejects, if requested: photo, verdict and SHA-256 to the reason of a failure."""
        if self.overlays is None:
            return None
        from qc_lightning.inference.inspector import Inspector
        from qc_lightning.prediction.overlays import Overlays

        if not isinstance(inspector, Inspector):
            raise UserError(
                f"overlays: expected a run, got {self.model}, which cannot be looked into: give run=<folder>"
            )

        return Overlays(inspector, self.overlays, self.source.root).put

    def photo(self, path: Path) -> "CameraPhoto":
        """The photo of a path with its camera."""
        from qc_lightning.inference.inspection import CameraPhoto

        return CameraPhoto(path, self.cameras.get(path, self.camera))

    def rounds(self, stop: StopRequest) -> Iterator[Iterable["CameraPhoto"]]:
        """The files to inspect: all at once, or round by round while watching."""
        if self.arrivals:
            return (map(self.photo, paths) for paths in self.arrivals.rounds(stop))
        return iter([self._handed_on()])

    def _handed_on(self) -> Iterator["CameraPhoto"]:
        for name in self.source.names:
            path = self.source.root / name
            self.handed[path] = stamp_of(path)
            yield self.photo(path)

    def row(self, inspection: "Inspection", certificate: "Certificate", draw: "Draw | None") -> Row | None:
        """Sort a photo into its folder and return its row; None if the file may still be incomplete.

        Args:
            inspection: result of the photo, a file.
            certificate: whether the certificate of the decision holds.
            draw: result of `drawer`.
        """
        path = inspection.path
        assert path is not None
        if self.arrivals:
            if not self.arrivals.settled(path, inspection.sha256, readable=not inspection.error):
                return None
        else:
            inspection = unless_changed(inspection, self.handed.pop(path))
        error, photo = inspection.error, self.photo(path)
        if self.sorter and inspection.sha256:
            trouble = self.sorter.put(path, inspection.verdict, inspection.sha256)
            error = error or trouble
        if draw and inspection.probability is not None:
            error = error or draw(photo, inspection.verdict, inspection.sha256)
        part = "" if self.parts.kind == "none" else self.parts.part(path_text(str(path)))
        return row_of(inspection, str(path), error, certificate, photo.camera, part)
