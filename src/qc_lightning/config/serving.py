"""The settings of the service; its values are here, because it runs where no YAML can be read."""

from dataclasses import dataclass, field
from pathlib import Path

from qc_lightning.config.checks import check, check_choice
from qc_lightning.core.errors import UserError

_SHORTEST_TOKEN = 16


@dataclass(kw_only=True)
class ServeConfig:
    """`python -m qc_lightning.serve`."""

    model: str | None = field(default=None, metadata={"help": "an exported inspector, .onnx"})
    run: str | None = field(default=None, metadata={"help": "a run, instead of model: its export, made when missing"})
    host: str = field(default="127.0.0.1", metadata={"help": "address to listen on; others than loopback need a token"})
    port: int = field(default=8000, metadata={"help": "0: any free one"})
    log: str | None = field(default=None, metadata={"help": "file of the record of every verdict, .sqlite"})
    keep: str = field(default="none", metadata={"help": "photos to keep: none | review (rejected ones too) | all"})
    photos: str | None = field(default=None, metadata={"help": "folder of kept photos; null: beside the log"})
    keep_gigabytes: float = field(default=10.0, metadata={"help": "of kept photos; the oldest make room"})
    token_file: str | None = field(default=None, metadata={"help": "file with the token; or QC_LIGHTNING_TOKEN"})
    tls_cert: str | None = field(default=None, metadata={"help": "certificate, PEM"})
    tls_key: str | None = field(default=None, metadata={"help": "key of the certificate, PEM"})
    unreadable: str = field(default="review", metadata={"help": "verdict on what cannot be read: review | reject"})
    queue: int = field(default=32, metadata={"help": "photos on their way at a time; more get 503"})
    max_megabytes: float = field(default=50.0, metadata={"help": "of a request's body"})
    timeout: float = field(default=10.0, metadata={"help": "seconds for a body to arrive, and for a verdict"})

    def __post_init__(self) -> None:
        if (self.model is None) == (self.run is None):
            raise UserError("model: expected model=inspector.onnx or run=<run>, one of the two")
        check(0 <= self.port <= 65535, "port", "0 to 65535", self.port)
        check_choice("unreadable", self.unreadable, ("review", "reject"))
        check_choice("keep", self.keep, ("none", "review", "all"))
        check(
            self.keep == "none" or self.log is not None, "keep", "log= beside it, which says what the photos are", None
        )
        check(self.keep_gigabytes > 0, "keep_gigabytes", "above 0", self.keep_gigabytes)
        check(1 <= self.queue <= 10_000, "queue", "1 to 10000 photos", self.queue)
        check(0 < self.max_megabytes <= 2000, "max_megabytes", "above 0, at most 2000", self.max_megabytes)
        check(0 < self.timeout <= 600, "timeout", "seconds above 0, at most 600", self.timeout)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UserError("tls_cert, tls_key: expected both or none")

    def keeping(self) -> tuple[Path, bool, int] | None:
        """Folder of the photos to keep, whether all of them, bytes that they may take; None to keep none."""
        if self.keep == "none":
            return None
        folder = Path(self.photos).expanduser() if self.photos else photos_beside(Path(str(self.log)).expanduser())
        return folder, self.keep == "all", int(self.keep_gigabytes * 1e9)


@dataclass(kw_only=True)
class LogConfig:
    """`python -m qc_lightning.log`."""

    file: str = field(metadata={"help": "log of a service, .sqlite"})
    action: str = field(default="verify", metadata={"help": "verify | export | replay | dataset"})
    output: str | None = field(default=None, metadata={"help": "export: the .csv; dataset: a new folder"})
    model: str | None = field(default=None, metadata={"help": "replay: an exported inspector, .onnx"})
    photos: str | None = field(default=None, metadata={"help": "folder of kept photos; null: the one beside the log"})
    beside: str | None = field(default=None, metadata={"help": "dataset: split.csv of the training so far"})

    def __post_init__(self) -> None:
        check_choice("action", self.action, ("verify", "export", "replay", "dataset"))
        named = self.action != "export" or (self.output or "").lower().endswith(".csv")
        check(named, "output", "a name that ends in .csv", self.output)
        check(self.action != "dataset" or bool(self.output), "output", "a folder for the photos", None)
        check(self.action != "replay" or self.model is not None, "model", "an exported inspector to replay with", None)

    @property
    def kept(self) -> Path:
        """The folder of the kept photos."""
        return Path(self.photos).expanduser() if self.photos else photos_beside(Path(self.file).expanduser())


def photos_beside(log: Path) -> Path:
    """Where the photos of a log are kept unless settings say otherwise: `line-3.sqlite`, `line-3_photos`."""
    return log.with_name(f"{log.stem}_photos")


def check_token(token: str) -> str:
    """The token without the line's end.

    Raises:
        UserError: it is too short to be a secret.
    """
    token = token.strip()
    if len(token) < _SHORTEST_TOKEN or not token.isascii():
        raise UserError(f"token: expected at least {_SHORTEST_TOKEN} ASCII characters, got {len(token)}")
    return token
