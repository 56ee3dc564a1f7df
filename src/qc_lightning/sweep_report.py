"""Report the winner of a sweep: `python -m qc_lightning.sweep_report`, settings as Hydra overrides."""

from qc_lightning.cli.app import run_command
from qc_lightning.config import SweepReportConfig


def sweep_report(config: SweepReportConfig) -> None:
    """Write sweep.csv and sweep.html for a sweep's folder and print the winner's command."""
    from qc_lightning.sweep.folder import Sweep
    from qc_lightning.sweep.winner import announce

    announce(Sweep.open(config.run, "run"), report=False)


def main() -> None:
    """Run the command."""
    run_command(sweep_report, "sweep_report")


if __name__ == "__main__":
    main()
