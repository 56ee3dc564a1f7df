"""Inspect photos from a drop folder: each complete file once, with its verdict in the log."""

import hashlib
import signal
import threading
import time
from pathlib import Path

from qc_lightning.core.errors import UserError
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.inference.inspection import CameraPhoto, Inspection
from qc_lightning.inference.log_queries import newest_inspection
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.inference.watch import FolderWatcher
from qc_lightning.service.engine import Busy
from qc_lightning.service.models import ServedModel
from qc_lightning.service.service import Service

_PAUSE = 0.5  # seconds between retries


class FolderSource:
    """A thread that watches a folder.

    The log says what was inspected: after a start no photo is inspected again unless its bytes have changed. A file
    that changes is a new part; its rows have the same part, the file's name.

    Args:
        service: inspects the photos.
        log: the verdict log.
        folder: the folder to watch, including its subfolders.
        rest: seconds without a change before a file is read.
        camera: the folder's camera, if the models have a region for each camera; log rows then name it as the source.

    Attributes:
        trouble: why the folder cannot be watched; empty if it can.

    Raises:
        UserError: the folder does not exist.
    """

    def __init__(self, service: Service, log: VerdictLog, folder: Path, rest: float, camera: str = "") -> None:
        if not folder.is_dir():
            raise UserError(f"source: expected a folder to watch, there is none at {folder}")
        self.trouble, self.folder = "", folder.absolute()
        self._service, self._log, self._stop = service, log, StopRequest()
        self._camera, self._source = camera, camera or str(self.folder)
        skip = (service.kept.folder.absolute(),) if service.kept else ()
        self._watcher = FolderWatcher(self.folder, skip, lambda _: True, self._judged, rest)
        self._thread = threading.Thread(target=self._run, name="folder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish the current photo, then end."""
        self._stop.signal = signal.SIGTERM
        self._thread.join()

    def _ended(self) -> bool:
        return self._stop.signal != 0

    def _run(self) -> None:
        while not self._ended():
            try:
                for paths in self._watcher.rounds(self._stop):
                    self.trouble = self._in_the_way()
                    for path in paths if not self.trouble else ():
                        self._inspect(path)
                        if self._ended():
                            return
            except Exception as error:  # any error: a dead thread would go unnoticed
                self.trouble = str(error) or type(error).__name__
                time.sleep(_PAUSE)

    def _inspect(self, path: Path) -> None:
        begun = time.perf_counter()
        model = self._service.models.choose(camera=self._camera)
        inspection = self._result(path, model)
        if inspection is None or not self._watcher.settled(path, inspection.sha256, readable=not inspection.error):
            return
        seconds = time.perf_counter() - begun
        name = path.relative_to(self.folder).as_posix()
        inspection = self._service.for_line(inspection)
        if self._service.kept:
            data = _bytes(path)
            if hashlib.sha256(data).hexdigest() == inspection.sha256:
                self._service.kept.keep(data, inspection)
        entry = model.entry(inspection, name, self._source, 1000 * seconds)
        number = self._service.record_at_last(entry, self._ended)  # a full disk: the photos wait in the folder
        if number is not None:
            self._service.note(model, inspection, entry, number, seconds)

    def _in_the_way(self) -> str:
        if not self.folder.is_dir():
            return f"{self.folder} is gone"
        try:
            self._service.models.choose(camera=self._camera)
        except UserError as error:  # the photos wait until a person sets the product
            return str(error)
        return ""

    def _result(self, path: Path, model: ServedModel) -> Inspection | None:
        while not self._ended():
            try:
                return self._service.engine.submit(CameraPhoto(path, self._camera), model.inspector).result()
            except Busy:
                time.sleep(0.05)
        return None

    def _judged(self, name: str) -> str | None:
        row = newest_inspection(self._log.path, name, self._source)
        return row.entry.sha256 if row else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
