"""Inspect the photos of a log again."""

from pathlib import Path

from qc_lightning.core.progress import with_count
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspection import CameraPhoto
from qc_lightning.inference.log_file import query
from qc_lightning.inference.sources import find_photos


def replay(path: Path, model: str, photos: Path) -> int:
    """Inspect kept photos again and print each verdict that differs from the log.

    Args:
        path: path of the log.
        model: an exported inspector.
        photos: folder of the photos.

    Returns:
        The number of verdicts that differ.
    """
    inspector = ExportedInspector.load(model, threads=1)
    inspector.verify_golden()
    logged = {entry.sha256: entry for _, entry, _ in query(path) if entry.sha256 and not entry.who}
    source = find_photos(str(photos), [])
    differing = unknown = 0
    cameras = {digest: entry.source for digest, entry in logged.items()}  # kept photos are named by their digests
    kept = [source.root / name for name in source.names]
    inspections = inspector.inspect_files([CameraPhoto(photo, cameras.get(photo.stem, "")) for photo in kept])
    for one in with_count(inspections, len(source.names), "photos"):
        entry = logged.get(one.sha256)
        unknown += entry is None
        if entry is not None and entry.by_model != one.verdict:
            print(f"{one.path} was {entry.by_model} at {entry.time} by model {entry.model_id}, now {one.verdict}")
            differing += 1
    same = len(source.names) - differing - unknown
    print(f"{len(source.names)} photos: {same} as in the log, {differing} not, {unknown} without a row")
    return differing
