"""Time a run's model on this machine: `python -m qc_lightning.latency`, settings as Hydra overrides."""

from qc_lightning.cli.app import run_command
from qc_lightning.config import LatencyConfig


def latency(config: LatencyConfig) -> None:
    """Measure milliseconds per photo for decoding and network, and whether they keep up with a line."""
    from qc_lightning.core.atomic import write_json
    from qc_lightning.core.room import check_room
    from qc_lightning.core.run import Run
    from qc_lightning.evaluation.evaluation_set import own_photos
    from qc_lightning.inference.inspection import CameraPhoto
    from qc_lightning.inference.sources import find_photos

    run = Run.open(config.run)
    check_room(run.folder)
    if config.source is None:
        photos = list(map(CameraPhoto.of, own_photos(run, "test").photos))
    else:
        photos = find_photos(config.source, [run.folder]).photos()

    from qc_lightning.evaluation import latency as speed
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.report.page import write_report

    inspector = Inspector.load(run, config.device)
    stages = len(config.batch_sizes) + 3
    print(f"{run.folder}: {stages} stages of at least {config.seconds:g} s each, keep the machine quiet")
    result = speed.latency(inspector, photos, config.batch_sizes, config.seconds)
    met, words = speed.keeps_up(result, config.line_rate)
    write_json(run.folder / "latency.json", {**result, "line_rate": config.line_rate, "met": met, "verdict": words})
    if run.metrics.is_file():
        write_report(run.folder)

    print(f"\non {result['device']}, {result['threads']} threads\n\n{speed.table(result)}\n\n{words}")
    print(f"latency: {run.folder / 'latency.json'}, report.html")


def main() -> None:
    """Run the command."""
    run_command(latency, "latency")


if __name__ == "__main__":
    main()
