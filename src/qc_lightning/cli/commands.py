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
        Command("audit", TRAIN, "photos checked before training", config.AuditConfig, "data.root"),
        Command("train", TRAIN, "photos of both classes to an inspector", config.TrainConfig, "data.root"),
        Command("sweep_report", TRAIN, "table and page of a sweep", config.SweepReportConfig, "run"),
        Command("cache", TRAIN, "what is kept between runs: show it, clear it", config.CacheConfig),
        Command("evaluate", LOOK, "figures of a run on other labelled photos", config.EvaluateConfig, "data.root"),
        Command("explain", LOOK, "where in a photo the evidence for its verdict lies", config.ExplainConfig, "source"),
        Command("robustness", LOOK, "verdicts on blurred, dark, shifted photos", config.RobustnessConfig),
        Command("predict", LINE, "a verdict for every photo of a folder", config.PredictConfig, "source"),
        Command("export", LINE, "one .onnx file for the line, checked on the run", config.ExportConfig, "run"),
        Command("certify", LOOK, "guarantee an escape rate with photos never seen", config.CertifyConfig, "data.root"),
        Command("gauge", LOOK, "do model and inspectors agree: attribute study", config.GaugeConfig, "source"),
        Command("decide", LINE, "record another threshold or rule, no training", config.DecideConfig),
        Command("release", LINE, "give a run a name that the line uses", config.ReleaseConfig),
        Command("releases", LINE, "list the names, and how to go back", config.ReleasesConfig),
        Command(
            "verify", LINE, "an exported inspector, checked where it serves", config.VerifyConfig, "source", plain=True
        ),
        Command("serve", LINE, "an exported inspector over HTTP, with a page", config.ServeConfig, "model", plain=True),
        Command(
            "log", LINE, "the record of every verdict: check, use, learn from it", config.LogConfig, "file", plain=True
        ),
        Command("drift", LINE, "have the photos of a line changed", config.DriftConfig, "file", plain=True),
        Command("latency", LINE, "milliseconds a photo on this machine", config.LatencyConfig, "source"),
    )
}
"""By name, in the order of the list that `qc-lightning` prints."""
