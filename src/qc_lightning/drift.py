"""Have the photos of a line changed? `qc-lightning drift line-3.sqlite`."""

from pathlib import Path

from qc_lightning.cli.plain import run_plain
from qc_lightning.config.serving import DriftConfig


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
    run_plain(drift, DriftConfig, "file")


if __name__ == "__main__":
    main()
