"""Test a run on corrupted photos: `python -m qc_lightning.robustness`, settings as Hydra overrides."""

from qc_lightning.cli.app import run_command
from qc_lightning.config import RobustnessConfig


def robustness(config: RobustnessConfig) -> None:
    """Apply nine corruptions at five strengths to a run's labelled photos; report the rates and draw them."""
    from qc_lightning.core.atomic import write_json, write_text
    from qc_lightning.core.csv_files import csv_text
    from qc_lightning.core.room import check_room
    from qc_lightning.core.run import Run
    from qc_lightning.evaluation.evaluation_set import own_photos

    run = Run.open(config.run)
    check_room(run.folder)
    labelled = own_photos(run, config.subset)

    from qc_lightning.evaluation import robustness as robust
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.report import charts
    from qc_lightning.report.page import write_report

    inspector = Inspector.load(run, config.device)
    photos = robust.sample(labelled.photos, config.photos)
    result = {"subset": config.subset, "model_id": inspector.model_id, **robust.robustness(inspector, photos)}
    write_json(run.folder / "robustness.json", result)
    write_text(run.folder / "robustness.csv", csv_text(robust.csv_header(), robust.csv_rows(result)))
    charts.save(charts.robustness(result), run.pictures / "robustness.png")
    if run.metrics.is_file():
        write_report(run.folder)

    print(f"{run.folder}, {len(photos)} of {len(labelled.photos)} {config.subset} photos\n")
    print(f"{robust.in_words(result)}\n")
    print(f"robustness: {run.folder / 'robustness.csv'}, {run.pictures / 'robustness.png'}, report.html")


def main() -> None:
    """Run the command."""
    run_command(robustness, "robustness")


if __name__ == "__main__":
    main()
