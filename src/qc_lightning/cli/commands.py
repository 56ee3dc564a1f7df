"""The commands, one line each. A new one needs a module, `conf/<name>.yaml`, a dataclass and a line here."""

from dataclasses import dataclass

from qc_lightning import config


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: the word on the command line, and the name of its module and of its file in `conf/`.
        group: heading in the list of commands.
        summary: what it does, in one line.
        schema: its settings.
        path: the setting that a bare path on the command line sets; empty for none.
        plain: whether it runs without Hydra and YAML, through `cli.plain`.
    """

    name: str
    group: str
    summary: str
    schema: type
    path: str = ""
    plain: bool = False

    @property
    def schema_name(self) -> str:
        """First entry of the defaults list in its `conf/` file."""
        return f"{self.name}_schema"


TRAIN, LOOK, LINE = "train an inspector", "look at what it knows", "use it on the line"

COMMANDS = {
    command.name: command
    for command in (
        Command("audit", TRAIN, "check photos before training", config.AuditConfig, "data.root"),
        Command("train", TRAIN, "train an inspector from photos of both classes", config.TrainConfig, "data.root"),
        Command("sweep_report", TRAIN, "write table and page of a sweep", config.SweepReportConfig, "run"),
        Command("cache", TRAIN, "show or clear the cache of photos and features", config.CacheConfig),
        Command("evaluate", LOOK, "evaluate a run on other labelled photos", config.EvaluateConfig, "data.root"),
        Command("explain", LOOK, "draw heat maps of the evidence for verdicts", config.ExplainConfig, "source"),
        Command("robustness", LOOK, "test the verdicts on blurred, dark, shifted photos", config.RobustnessConfig),
        Command("predict", LINE, "give every photo of a folder a verdict", config.PredictConfig, "source"),
        Command("export", LINE, "write a checked .onnx file for the line", config.ExportConfig, "run"),
        Command("certify", LOOK, "guarantee an escape rate with new photos", config.CertifyConfig, "data.root"),
        Command("gauge", LOOK, "study whether the model and inspectors agree", config.GaugeConfig, "source"),
        Command("decide", LINE, "record another threshold or rule without training", config.DecideConfig),
        Command("release", LINE, "give a run a name that the line uses", config.ReleaseConfig),
        Command("releases", LINE, "list the releases, and how to go back", config.ReleasesConfig),
        Command(
            "verify", LINE, "check an exported inspector where it serves", config.VerifyConfig, "source", plain=True
        ),
        Command("serve", LINE, "serve exported inspectors over HTTP", config.ServeConfig, "model", plain=True),
        Command(
            "log", LINE, "verify, export, replay or learn from the verdict log", config.LogConfig, "file", plain=True
        ),
        Command("drift", LINE, "check whether a line's photos have changed", config.DriftConfig, "file", plain=True),
        Command("latency", LINE, "measure milliseconds per photo on this machine", config.LatencyConfig, "source"),
    )
}
"""By name, in the order of the list that `qc-lightning` prints."""
