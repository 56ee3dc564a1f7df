"""The settings of the commands that work on a finished run."""

from dataclasses import dataclass
from typing import Literal

from qc_lightning.config.checks import check, check_choice, check_device, check_marks
from qc_lightning.config.cluster import RayConfig
from qc_lightning.config.data import Group, Subset
from qc_lightning.core.errors import UserError

Method = Literal["auto", "distance", "evidence", "gradcam", "hirescam", "gradcam++", "layercam", "eigencam", "scorecam"]


@dataclass(kw_only=True)
class PredictConfig:
    """`python -m qc_lightning.predict`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    source: str | None  # a photo, a folder, a glob, a .txt list or a .csv with a column path
    output: str | None  # verdicts: .csv, .jsonl (JSON lines), .parquet or .xlsx; a folder with engine=ray
    separator: str  # between fields of a .csv
    decimal: str  # decimal mark in a .csv
    device: str  # auto | cpu | cuda | cuda:<n>
    batch_size: int  # photos that go through the network at a time
    camera: str | None  # that took the photos, but for those whose .csv names one; null: not known
    resume: bool  # keep the rows of an output, add the missing ones
    watch: bool  # keep running as photos arrive
    sort: Literal["none", "copy", "link"]  # copy or link photos into one folder per verdict
    unreadable: Literal["review", "reject"]  # the verdict on a photo that cannot be read
    overlays: bool  # draw each reject with the evidence against it
    shard: str | None  # i/n: the i-th of n shards; null: set by torchrun or Slurm, else all photos
    max_pixels: int | None  # photos with more are refused; null: the training's data.max_pixels
    part: Literal["none", "folder", "prefix", "column"] | None  # photos of one part; null: as in the run
    views: int | None  # photos per part; a part with fewer is never PASS; null: unknown
    part_wait: float  # seconds that a part waits for a missing photo while watching
    engine: Literal["local", "ray"]  # this machine, or a cluster
    ray: RayConfig  # for engine=ray

    def __post_init__(self) -> None:
        if self.source is None:
            raise UserError("source: expected a photo, a folder, a glob, a .txt list or a .csv: give source=incoming/")
        if self.engine == "ray":
            self._check_ray()
        else:
            self.output = self.output or "verdicts.csv"
            endings = (".csv", ".jsonl", ".parquet", ".xlsx")
            valid = self.output.lower().endswith(endings)
            check(valid, "output", f"a name that ends in {', '.join(endings)}", self.output)
        most = self.max_pixels
        check(most is None or most >= 1, "max_pixels", "at least 1 pixel, or null", most)
        check_device(self.device)
        check_marks(self.separator, self.decimal)
        check(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        check(self.views is None or self.views >= 1, "views", "at least 1, or null", self.views)
        check(0 <= self.part_wait <= 86_400, "part_wait", "0 to 86400 seconds", self.part_wait)

    def _check_ray(self) -> None:
        used = {
            "watch": self.watch,
            "sort": self.sort != "none",
            "overlays": self.overlays,
            "shard": self.shard is not None,
            "part": self.part is not None,
            "views": self.views is not None,
        }
        if given := [key for key, is_used in used.items() if is_used]:
            raise UserError(f"{given[0]} works with engine=local only: leave it out with engine=ray")
        check_choice("device with engine=ray (ray.gpus=1 gives a worker a GPU)", self.device, ("auto",))
        csv = str(self.output).lower().endswith(".csv")
        check(not csv, "output", "with engine=ray a folder for part-*.parquet, or one named *.jsonl", self.output)


@dataclass(kw_only=True)
class OtherNames:
    """Class names that differ from those of the run."""

    correct: str | None  # folder or label of good parts; null: as in the run
    incorrect: str | None  # folder or label of bad parts; null: as in the run


@dataclass(kw_only=True)
class OtherPhotosConfig:
    """Labelled photos that are not the run's own."""

    root: str | None  # a folder with one folder per class
    manifest: str | None  # or a CSV: path,label[,group]
    classes: OtherNames
    group: Group | None  # null: as in the run


@dataclass(kw_only=True)
class EvaluateConfig:
    """`python -m qc_lightning.evaluate`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    against: str | None  # another run to compare with on the same photos
    data: OtherPhotosConfig
    subset: Subset | None  # of the run's own photos; null: test, unless data.* names others
    name: str | None  # of the folder in <run>/evaluations; null: the time
    device: str  # auto | cpu | cuda | cuda:<n>

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.subset is not None and (self.data.root or self.data.manifest):
            raise UserError(f"subset={self.subset} names photos of the run: leave it out, or leave out data.*")
        plain = self.name is None or (bool(self.name) and not set(self.name) & set("/\\\0") and self.name[0] != ".")
        check(plain, "name", "a folder's name without / and no leading dot", self.name)


@dataclass(kw_only=True)
class RobustnessConfig:
    """`python -m qc_lightning.robustness`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    subset: Subset  # of the run's own photos
    photos: int | None  # at most; null: all
    device: str  # auto | cpu | cuda | cuda:<n>

    def __post_init__(self) -> None:
        check(self.photos is None or self.photos >= 2, "photos", "at least 2", self.photos)
        check_device(self.device)


@dataclass(kw_only=True)
class LatencyConfig:
    """`python -m qc_lightning.latency`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    source: str | None  # photos as predict takes them; null: the run's test photos
    batch_sizes: list[int]  # photos that go through the network at a time
    line_rate: float | None  # parts per second on the line
    seconds: float  # duration of each measurement
    device: str  # auto | cpu | cuda | cuda:<n>

    def __post_init__(self) -> None:
        valid = bool(self.batch_sizes) and all(size >= 1 for size in self.batch_sizes)
        check(valid, "batch_sizes", "sizes of at least 1", self.batch_sizes)
        check(self.line_rate is None or self.line_rate > 0, "line_rate", "parts per second above 0", self.line_rate)
        check(0 < self.seconds <= 3600, "seconds", "above 0, at most 3600", self.seconds)
        check_device(self.device)


@dataclass(kw_only=True)
class SweepReportConfig:
    """`python -m qc_lightning.sweep_report`."""

    run: str  # a sweep's folder, or latest


@dataclass(kw_only=True)
class CacheConfig:
    """`python -m qc_lightning.cache`."""

    cache_dir: str  # folder of decoded photos and features
    clear: bool  # remove the cached files


@dataclass(kw_only=True)
class ExplainConfig:
    """`python -m qc_lightning.explain`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    source: str | None  # photos as predict takes them; null: the run's own
    subset: Subset  # of the run's own photos
    photos: int | None  # at most; null: all
    method: Method  # auto: evidence for a pretrained network with a linear head, else hirescam
    target: Literal["verdict", "incorrect"]  # show evidence for the given verdict, or always for Incorrect
    checks: bool  # compare each map with random ones, and the network with one that has other weights
    compare: bool  # check every method that the network supports
    masks: str | None  # a folder with <photo's stem>.png for each defect; photos with one are preferred
    output: str | None  # folder of the pictures
    batch_size: int  # photos at a time; halved when memory runs out
    device: str  # auto | cpu | cuda | cuda:<n>

    def __post_init__(self) -> None:
        check(self.photos is None or self.photos >= 1, "photos", "at least 1", self.photos)
        check(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        check_device(self.device)


@dataclass(kw_only=True)
class ExportConfig:
    """`python -m qc_lightning.export`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    output: str | None  # the file; null: <run>/export/inspector.onnx

    def __post_init__(self) -> None:
        named = self.output is None or self.output.lower().endswith(".onnx")
        check(named, "output", "a name that ends in .onnx", self.output)


@dataclass(kw_only=True)
class VerifyConfig:
    """Check an exported inspector on the machine that serves it: golden inputs, then photos with known verdicts.

      qc-lightning verify model=inspector.onnx
      qc-lightning verify model=inspector.onnx source=qualification/       with qualification/Correct and /Incorrect
      qc-lightning verify model=inspector.onnx source=verdicts.csv         rows of predict, predictions.csv, split.csv

    A recorded verdict must be reproduced; if only the label is known, an Incorrect part must not pass and a Correct one
    must not be rejected. Exit codes: 0 all as expected; 1 some verdicts differ, one line each; 2 a mistake, or golden
    inputs that this machine gets wrong.
    """

    model: str  # an exported inspector, .onnx
    source: str | None = None  # photos in one folder per class, or rows with verdicts or labels
