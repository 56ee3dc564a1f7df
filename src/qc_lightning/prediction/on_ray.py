"""Predict on a Ray cluster: workers get photo names and return rows, which one process writes."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qc_lightning.config import PredictConfig
from qc_lightning.config.record import RunRecord
from qc_lightning.core.bars import Progress
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.core.shutdown import graceful_shutdown
from qc_lightning.data.catalog import path_text
from qc_lightning.data.cluster.distribute import TRIES, Cluster, check_nodes
from qc_lightning.data.sources.remote import RemotePhoto, is_address
from qc_lightning.inference.sources import find_everywhere
from qc_lightning.inference.validity import certificate_status
from qc_lightning.prediction.model import ADVICE, load_model, open_model
from qc_lightning.prediction.part_files import PartFolder
from qc_lightning.prediction.rows import Row
from qc_lightning.prediction.summary import announce, check_rows, summarise

if TYPE_CHECKING:
    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.inference.inspector import Inspector

_MOST = 256  # photos per task
_BASE, _EXPORTED = 1_000_000_000, 400_000_000  # bytes of a worker process with torch, and with onnxruntime only


def predict_on_ray(config: PredictConfig) -> int:
    """Like `predict`, with the photos distributed by Ray.

    Returns:
        Exit code.

    Raises:
        UserError: a setting or source is invalid; nothing has been written.
    """
    model = open_model(config.run)
    cameras = find_everywhere(str(config.source))
    photos = list(cameras)
    parts = PartFolder(config.output or "verdicts", config.resume)
    inspector = load_model(model, "cpu", config.unreadable, config.max_pixels)
    check_rows(model, inspector, parts.output, parts.written)
    if config.camera or not any(cameras.values()):
        inspector.decode.check_camera(config.camera or "", ADVICE)
    cluster = Cluster(config.ray, _memory_of(inspector, config.batch_size))
    check_nodes(cluster, next((Path(photo) for photo in photos if not is_address(photo)), None))
    begun = sum(path_text(photo) in parts.written.sha256 for photo in photos) if parts.written.sha256 else 0
    announce(model, inspector, cluster, cluster.device)
    device = cluster.device if isinstance(model, Run) else None
    print(f"{len(photos)} photos" + (f", {begun} have a row: their bytes are compared with it" if begun else ""))
    if isinstance(model, Run) and model.record.is_file() and RunRecord.read(model).data.group in ("folder", "prefix"):
        print("NOTE: engine=ray writes rows of photos, none of parts")
    parts.begin(
        {
            "run": str(model),
            "source": str(config.source),
            "model_id": inspector.model_id,
            "threshold": inspector.decision.threshold,
            "photos": len(photos),
        }
    )
    make = partial(InspectionWork, inspector, cluster.device, config.batch_size, cluster.threads)

    def task(number: int) -> bytes:
        photo = photos[number]
        known = parts.written.sha256.get(path_text(photo))
        return json.dumps([photo, cameras[photo] or config.camera or "", known]).encode()

    done = 0
    with graceful_shutdown() as stop, Progress(total=len(photos), unit="photo", mininterval=0.2) as bar:
        try:
            for results in cluster.results(make, len(photos), task, _MOST, stop):
                for place, result in results:
                    if result is None:
                        camera = cameras[photos[place]] or config.camera or ""
                        parts.add(_lost(photos[place], camera, inspector, device))
                    elif result:
                        parts.add(Row(**json.loads(result)))
                done += len(results)
                bar.update(len(results))
                parts.flush(if_due=True)
        except UserError as error:
            parts.finish(complete=False)
            raise UserError(f"{error}; {done} of {len(photos)} photos are done, resume=true continues") from error
        parts.finish(complete=done == len(photos))
    return summarise(parts.output, parts.written.counts, done, len(photos), stop)


class InspectionWork:
    """A worker's task: each photo's row as JSON, empty if its bytes have not changed since its row.

    Args:
        inspector: on the CPU.
        device: where it works.
        batch_size: photos per batch.
        threads: number of decoding threads.
    """

    def __init__(self, inspector: "Inspector | ExportedInspector", device: str, batch_size: int, threads: int) -> None:
        from qc_lightning.inference.inspector import Inspector
        from qc_lightning.inference.stream import Stream

        on_device = inspector.on(device) if isinstance(inspector, Inspector) and device != "cpu" else inspector
        self._certificate = certificate_status(on_device)
        self._stream = Stream(on_device, batch_size, threads=threads)
        self._stream.__enter__()

    def __call__(self, tasks: list[bytes]) -> list[bytes]:
        """The results of photos; each photo is JSON: path or address, camera, the SHA-256 of its row or null."""
        from qc_lightning.core.fingerprint import stamp_of
        from qc_lightning.inference.inspection import CameraPhoto
        from qc_lightning.prediction.photo_row import row_of, unless_changed

        results = [b""] * len(tasks)
        given: list[tuple[str, str, str | None]] = [json.loads(task) for task in tasks]
        todo = [place for place, (photo, _, digest) in enumerate(given) if digest is None or digest != _digest(photo)]
        places = iter(todo)
        names = [given[place][0] for place in todo]
        handed = [RemotePhoto(name) if is_address(name) else Path(name) for name in names]
        stamps = {photo: stamp_of(photo) for photo in handed if isinstance(photo, Path)}
        seen = [CameraPhoto(photo, given[place][1]) for photo, place in zip(handed, todo, strict=True)]
        for batch in self._stream.inspect(seen):
            for inspection in batch:
                place = next(places)
                checked = inspection if inspection.path is None else unless_changed(inspection, stamps[inspection.path])
                photo, camera, _ = given[place]
                row = row_of(checked, photo, checked.error, self._certificate, camera)
                results[place] = json.dumps(row._asdict(), allow_nan=False).encode()
        return results


def _digest(photo: str) -> str:
    """SHA-256 of a photo's bytes, hex; empty if it cannot be read."""
    import hashlib

    from qc_lightning.core.fingerprint import sha256_of
    from qc_lightning.data.decoding.image_file import BadImage

    if not is_address(photo):
        return sha256_of(Path(photo))
    try:
        return hashlib.sha256(RemotePhoto(photo).read()).hexdigest()
    except BadImage:
        return ""


def _lost(photo: str, camera: str, inspector: "Inspector | ExportedInspector", device: str | None) -> Row:
    """The error row of a photo that crashes its workers."""
    from qc_lightning.inference.inspection import Inspection
    from qc_lightning.prediction.photo_row import row_of

    error = f"its worker died {TRIES} times, perhaps out of memory"
    inspection = Inspection(
        None, "", inspector.unreadable, None, None, inspector.decision.threshold, None, "cannot be read",
        inspector.model_id, 0.0, error,
    )  # fmt: skip
    return row_of(inspection, photo, error, certificate_status(inspector, device), camera)


def _memory_of(inspector: "Inspector | ExportedInspector", batch_size: int) -> int:
    """Estimated bytes per worker: the process, the weights twice, a batch of photos, one photo being decoded."""
    from qc_lightning.inference.exported import ExportedInspector

    height, width = inspector.decode.shape[1:]
    pixels = batch_size * height * width * 3 * 5
    if isinstance(inspector, ExportedInspector):
        return _EXPORTED + 2 * inspector.path.stat().st_size + pixels
    weights: int = sum(weight.numel() * weight.element_size() for weight in inspector.network.state_dict().values())
    return _BASE + 2 * weights + pixels
