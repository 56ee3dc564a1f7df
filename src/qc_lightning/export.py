"""Export a run as one file for the line: `qc-lightning export run=outputs/<date>/<time>`."""

from pathlib import Path

from qc_lightning.cli.app import run_command
from qc_lightning.config import ExportConfig


def export(config: ExportConfig) -> Path:
    """Write inspector.onnx, but only if it gives the run's own photos the same verdicts as the run.

    Returns:
        The file.
    """
    from qc_lightning.core.room import check_room
    from qc_lightning.core.run import Run
    from qc_lightning.deployment.export_run import decision_record, export_inspector
    from qc_lightning.deployment.photos import gate_photos, other_photos
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.metrics.go_live import doubt_of

    run = Run.open(config.run)
    output = Path(config.output or run.folder / "export" / "inspector.onnx").expanduser()
    check_room(output.parent)
    photos = gate_photos(run)
    inspector = Inspector.load(run, "cpu")
    if doubt := doubt_of(run):
        print(f"WARNING: {doubt}")
    print(f"{run}: model {inspector.model_id}; exporting, then checking it on {len(photos)} photos")
    record, others = decision_record(run, inspector), other_photos(run, photos)
    result = export_inspector(inspector, record, photos, output, others, doubt)
    print(f"gate: {result}")
    if result.certificate:
        print(result.certificate)
    print(f"export: {output} ({output.stat().st_size / 1e6:.1f} MB)")
    return output


def main() -> None:
    """Run the command."""
    run_command(export, "export")


if __name__ == "__main__":
    main()
