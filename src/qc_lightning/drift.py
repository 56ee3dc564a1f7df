"""Detect changes in the photos of a line: `qc-lightning drift line-3.sqlite`."""

from pathlib import Path

from qc_lightning.cli.plain import run_plain
from qc_lightning.config.serving import DriftConfig


def drift(config: DriftConfig) -> None:
    """Replay one model's photos and spot checks through the monitors of the service."""
    from qc_lightning.inference.drift_report import replayed, table

    model_id, monitor, escapes, others = replayed(Path(config.file).expanduser(), config.model)
    if monitor:
        print(f"{config.file}: model {model_id}, {monitor.photos} photos")
        print(table(monitor))
    else:
        print(f"{config.file}: model {model_id}; its photos are not compared, the export has no reference")
    print("\n".join([str(escapes), *others]))
    if escapes.trouble:
        print(f"ALARM: the certificate is void: {escapes.trouble}")
    if escapes.trouble or (monitor and monitor.first):
        raise SystemExit(1)


def main() -> None:
    """Run the command."""
    run_plain(drift, DriftConfig, "file")


if __name__ == "__main__":
    main()
