"""Have the photos of a line changed? `qc-lightning drift line-3.sqlite`."""

from pathlib import Path

from qc_lightning.cli.plain import run_plain
from qc_lightning.config.serving import DriftConfig

HELP = """\
Compare the photos of a log with the training's photos: camera, light, lens, product, and the share of bad parts.

  qc-lightning drift line-3.sqlite

For each statistic: the look at which it came nearest to its limit, and the first row beyond it, if there is one. The
limits allow one false alarm in 100,000 photos. Exit codes: 0 nothing has changed; 1 something has; 2 a mistake, said in
one line."""


def drift(config: DriftConfig) -> None:
    """Run the photos of the newest model through the monitor that the service uses."""
    from qc_lightning.inference.drift_report import replayed, table

    monitor, model_id = replayed(Path(config.file).expanduser())
    print(f"{config.file}: model {model_id}, {monitor.photos} photos")
    print(table(monitor))
    if monitor.first:
        raise SystemExit(1)


def main() -> None:
    """Run the command."""
    run_plain(drift, DriftConfig, "file", HELP)


if __name__ == "__main__":
    main()
