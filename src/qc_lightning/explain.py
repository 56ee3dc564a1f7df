"""Draw heat maps of the evidence for verdicts: `python -m qc_lightning.explain`, settings as Hydra overrides."""

import sys
from pathlib import Path

from qc_lightning.cli.app import run_command
from qc_lightning.config import ExplainConfig


def explain(config: ExplainConfig) -> None:
    """Compute heat maps of photos, draw them, and measure how far they can be trusted."""
    from qc_lightning.core.atomic import unfinished_folder, write_json
    from qc_lightning.core.room import check_room
    from qc_lightning.core.run import Run
    from qc_lightning.explanation import publishing

    run = Run.open(config.run)
    folder = Path(config.output) if config.output else (Path() if config.source else run.folder) / "explanations"
    place = publishing.free_folder(folder)
    check_room(folder)
    from qc_lightning.explanation import explanations, pictures, summary
    from qc_lightning.explanation.heat import Heat
    from qc_lightning.explanation.selection import select_images
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.metrics.go_live import doubt_of
    from qc_lightning.report.page import write_report

    inspector = Inspector.load(run, config.device)
    print(f"{run}: model {inspector.model_id}, threshold {inspector.decision.threshold:g}")
    if why := doubt_of(run):
        print(f"WARNING: {why}")
    heat, names = Heat(inspector.network, config.method), inspector.class_names
    images = select_images(run, inspector, config)
    explained = explanations.explain(inspector, heat, images, config.batch_size, config.target, config.checks)
    with unfinished_folder(place) as unfinished:
        lines, measures, errors = pictures.write(explained, unfinished, names)
        result = summary.result(config, inspector, heat, images, measures)
        summary.write(unfinished / "explain.csv", lines)
        write_json(unfinished / "explain.json", result)
        publishing.publish(unfinished, folder)
    if folder == run.folder / "explanations" and run.metrics.is_file():
        write_report(run.folder)
    print(f"\n{summary.in_words(result['methods'], run.argument)}")
    print(f"explanations: {folder / 'sheets'}, {folder / 'explain.csv'}")
    if errors:
        print(f"photos that could not be read: {errors}; the column error says why", file=sys.stderr)
        raise SystemExit(3)


def main() -> None:
    """Run the command."""
    run_command(explain, "explain")


if __name__ == "__main__":
    main()
