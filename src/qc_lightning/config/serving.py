"""Settings of the service, with their values, because it runs without a YAML library."""

from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Literal

from qc_lightning.config.checks import check, check_marks
from qc_lightning.core.errors import UserError

_SHORTEST_TOKEN = 16


@dataclass(kw_only=True)
class ServeConfig:
    """Serve exported inspectors over HTTP: a photo in, its verdict out.

      qc-lightning serve                                          the only release, exported when it is not yet
      qc-lightning serve model=inspector.onnx
      qc-lightning serve model=inspector.onnx host=0.0.0.0 token_file=token.txt tls_cert=cert.pem tls_key=key.pem
      qc-lightning serve model=inspector.onnx log=line-3.sqlite source=incoming/ keep=review csv=verdicts.csv
      qc-lightning serve models=models.csv log=line-3.sqlite         columns product,camera,model; empty: any
      curl -F file=@part.jpg 'http://127.0.0.1:8000/v1/inspect?part=4711'

    The operator's page is at /, the API at /docs, counts for Prometheus at /metrics. On Ctrl-C or SIGTERM, requests in
    flight are answered, exit code 0. Exit code 2: a mistake, explained in one line, or golden inputs that this machine
    gets wrong.
    """

    model: str | None = None  # an exported inspector, .onnx
    run: str | None = None  # a run or release, instead of model; exported if the export is missing or outdated
    models: str | None = None  # or a table of several, .csv: product,camera,model
    force: bool = False  # serve even if by its own metrics it cannot tell the classes apart
    host: str = "127.0.0.1"  # address to listen on; any but loopback needs a token
    port: int = 8000  # 0: any free one
    log: str | None = None  # file of the verdict log, .sqlite
    keep: Literal["none", "review", "all"] = "none"  # photos to keep; review: those of REVIEW and REJECT
    photos: str | None = None  # folder of kept photos; null: next to the log
    keep_gigabytes: float = 10.0  # limit of kept photos; the oldest are removed
    views: int = 1  # photos per part, each from its own camera: see /v1/parts
    spot_check: int | None = None  # send one photo in this many to a person, whatever its verdict: measures escapes
    masters: float | None = None  # hours after which master parts are due again; null: no reminder
    shifts: str = "06:00,14:00,22:00"  # start of each shift, local time: the page counts by shift
    source: str | None = None  # a folder to watch; the verdicts on its photos go to the log
    rest: float = 0.4  # seconds without a change before a file in that folder is read
    camera: str | None = None  # USB index, rtsp://..., genicam:producer.cti[#serial], a video file or frames_%03d.png
    camera_name: str = "camera"  # its name in log rows, models= and data.cameras; without camera, that of source
    interval: float | None = None  # seconds between its photos; null: on a trigger, POST /v1/trigger or the PLC's
    csv: str | None = None  # file that receives each log row, .csv
    separator: str = ","  # field separator of that file; a German Excel expects ;
    decimal: str = "."  # decimal mark of that file; a German Excel expects ,
    jsonl: str | None = None  # file that receives each row as a line of JSON
    webhook: str | None = None  # http://host/path that receives the rows by POST
    mqtt: str | None = None  # mqtt://[user:password@]host:1883/topic that receives each row; extra mqtt
    modbus: str | None = None  # modbus://host:502/<base register> of a PLC that receives the verdicts; extra modbus
    opcua: str | None = None  # opc.tcp://host:4840#<node> of a PLC, instead of modbus; extra opcua
    opcua_security: str | None = None  # Basic256Sha256,SignAndEncrypt,certificate.der,key.pem; null: not encrypted
    deadline: float = 2.0  # seconds after which a PLC's trigger gets REJECT; older verdicts are not sent
    token_file: str | None = None  # file with the token; or QC_LIGHTNING_TOKEN
    tls_cert: str | None = None  # certificate, PEM
    tls_key: str | None = None  # key of the certificate, PEM
    unreadable: Literal["review", "reject"] = "review"  # verdict on a photo that cannot be read
    queue: int = 32  # photos in progress at a time; more get 503
    max_megabytes: float = 50.0  # largest request body
    timeout: float = 10.0  # seconds for a body to arrive and for a verdict

    def __post_init__(self) -> None:
        if [self.model, self.run, self.models].count(None) < 2:
            raise UserError("model: expected one of model=inspector.onnx, run=<run>, models=models.csv")
        check(0 <= self.port <= 65535, "port", "0 to 65535", self.port)
        check(self.keep == "none" or self.log is not None, "keep", "log= too, which identifies the photos", None)
        check(0 < self.keep_gigabytes <= 1e6, "keep_gigabytes", "above 0, at most 1000000", self.keep_gigabytes)
        check(self.masters is None or 0 < self.masters <= 8784, "masters", "hours above 0, at most 8784", self.masters)
        asked = [
            name
            for name in (
                "source",
                "camera",
                "spot_check",
                "masters",
                "csv",
                "jsonl",
                "webhook",
                "mqtt",
                "modbus",
                "opcua",
            )
            if getattr(self, name)
        ]
        check(not asked or self.log is not None, ", ".join(asked), "log= too, whose rows they are", None)
        check(self.spot_check is None or self.spot_check >= 1, "spot_check", "1 or more photos", self.spot_check)
        check(1 <= self.views <= 100, "views", "1 to 100 photos", self.views)
        check(0.05 <= self.rest <= 3600, "rest", "0.05 to 3600 seconds", self.rest)
        check(self.interval is None or self.camera is not None, "interval", "camera= too", None)
        check(self.interval is None or 0.01 <= self.interval <= 86400, "interval", "0.01 to 86400 s", self.interval)
        check(0 < self.deadline <= 3600, "deadline", "seconds above 0, at most 3600", self.deadline)
        check(not (self.modbus and self.opcua), "modbus, opcua", "one PLC", "two")
        check(not self.opcua_security or bool(self.opcua), "opcua_security", "opcua= too", None)
        self.shift_starts()
        check_marks(self.separator, self.decimal)
        check(1 <= self.queue <= 10_000, "queue", "1 to 10000 photos", self.queue)
        check(0 < self.max_megabytes <= 2000, "max_megabytes", "above 0, at most 2000", self.max_megabytes)
        check(0 < self.timeout <= 600, "timeout", "seconds above 0, at most 600", self.timeout)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UserError("tls_cert, tls_key: expected both or none")

    def shift_starts(self) -> list[time]:
        """Start of each shift, local time."""
        try:
            return [datetime.strptime(text.strip(), "%H:%M").time() for text in self.shifts.split(",")]
        except ValueError:
            raise UserError(f"shifts: expected times such as 06:00,14:00,22:00, got {self.shifts!r}") from None

    def keeping(self) -> tuple[Path, bool, int] | None:
        """Folder of the kept photos, whether all are kept, and their limit in bytes; None if none are kept."""
        if self.keep == "none":
            return None
        folder = Path(self.photos).expanduser() if self.photos else photos_beside(Path(str(self.log)).expanduser())
        return folder, self.keep == "all", int(self.keep_gigabytes * 1e9)


@dataclass(kw_only=True)
class LogConfig:
    """Read the verdict log of `qc-lightning serve log=line-3.sqlite`, while it serves or later.

      qc-lightning log line-3.sqlite verify                              is every row unchanged?
      qc-lightning log line-3.sqlite export line-3.csv separator=';' decimal=','     as a German Excel opens it
      qc-lightning log line-3.sqlite export line-3.xlsx                  or .parquet
      qc-lightning log line-3.sqlite replay model=inspector.onnx         do kept photos get the same verdicts?
      qc-lightning log line-3.sqlite dataset corrected/ beside=outputs/<date>/<time>/split.csv
      qc-lightning train data.manifest=corrected/labels.csv

    dataset copies the photos with a person's verdict into one folder per class and lists them in labels.csv after
    the photos of the previous training, whose validation and test parts stay the same.

    verify prints the last digest: kept elsewhere, it shows later, as digest=, that no rows were cut off at the end.
    Exit codes: 0 all is well; 1 a row was changed or is missing, a verdict differs; 2 a mistake, explained in one line.
    """

    file: str  # log of a service, .sqlite
    action: Literal["verify", "export", "replay", "dataset"] = "verify"  # what to do with it
    output: str | None = None  # export: a .csv, .xlsx (extra xlsx) or .parquet (extra parquet); dataset: a new folder
    model: str | None = None  # replay: an exported inspector, .onnx
    photos: str | None = None  # folder of kept photos; null: the one next to the log
    beside: str | None = None  # dataset: split.csv of the previous training
    digest: str | None = None  # verify: a last digest printed before, which a row must have
    separator: str = ","  # export: field separator; a German Excel expects ;
    decimal: str = "."  # export: decimal mark; a German Excel expects ,

    def __post_init__(self) -> None:
        check_marks(self.separator, self.decimal)
        named = self.action != "export" or (self.output or "").lower().endswith((".csv", ".xlsx", ".parquet"))
        check(named, "output", "a name that ends in .csv, .xlsx or .parquet", self.output)
        check(self.action != "dataset" or bool(self.output), "output", "a folder for the photos", None)
        check(self.action != "replay" or self.model is not None, "model", "an exported inspector to replay with", None)

    @property
    def kept(self) -> Path:
        """The folder of the kept photos."""
        return Path(self.photos).expanduser() if self.photos else photos_beside(Path(self.file).expanduser())


@dataclass(kw_only=True)
class DriftConfig:
    """Compare the photos of a log with the training photos: camera, light, lens, product, and the fraction rejected.

      qc-lightning drift line-3.sqlite
      qc-lightning drift line-3.sqlite model=<id>                 another of its models; the first call names them

    For each statistic it prints the comparison nearest to its limit, and the first row beyond the limit, if any.
    The limits allow one false alarm in 100,000 photos. Then follow the escape rate in spot checks and the certified
    one. Exit codes: 0 nothing has changed; 1 something has, or the certificate is void; 2 a mistake, explained in one
    line.
    """

    file: str  # log of a service, .sqlite
    model: str | None = None  # id of one of its models; null: the one that inspected last


def photos_beside(log: Path) -> Path:
    """Default folder of a log's kept photos: `line-3_photos` for `line-3.sqlite`."""
    return log.with_name(f"{log.stem}_photos")


def check_token(token: str) -> str:
    """Strip the line end of a token and check its length.

    Raises:
        UserError: it is too short to be a secret, or a header of HTTP cannot carry it.
    """
    token = token.strip()
    if len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        others = "" if token.isascii() and token.isprintable() else ", some of them others"
        raise UserError(f"token: expected at least {_SHORTEST_TOKEN} ASCII characters, got {len(token)}{others}")
    return token
