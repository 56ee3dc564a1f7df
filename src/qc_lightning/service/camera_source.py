"""Photograph parts with the service's own camera on a trigger or at an interval; inspect and log them."""

import threading
import time
from dataclasses import replace
from typing import NamedTuple

from qc_lightning.core.errors import UserError
from qc_lightning.inference.inspection import CameraPhoto, Decoded, Inspection
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.camera import Camera, CameraGone
from qc_lightning.service.engine import Busy
from qc_lightning.service.masters import Kind, part_of
from qc_lightning.service.models import ServedModel
from qc_lightning.service.service import Service

_PAUSE = 0.5  # seconds between retries
_PHOTO, _VERDICT = 0.8, 0.9  # fraction of a part's time by which its photo and verdict must be available
_LEAST_SECONDS = 0.05  # seconds for writing a row, even for a part that is already late


class Outcome(NamedTuple):
    """The outcome for a part.

    Attributes:
        model: the model that inspected it.
        result: the inspection, with the verdict sent to the line.
        row: number of its log row; None if it could not be written in time.
        milliseconds: from the trigger to the row.
        part: number of the part, or the name of a master part.
    """

    model: ServedModel
    result: Inspection
    row: int | None
    milliseconds: float
    part: str


class CameraSource:
    """The service's camera.

    Args:
        service: inspects the photos.
        log: the verdict log.
        camera: takes the photos.
        name: name of the camera in log rows.
        interval: seconds from one photo to the next; None: photos are taken at a trigger only.
    """

    def __init__(
        self, service: Service, log: VerdictLog, camera: Camera, name: str, interval: float | None = None
    ) -> None:
        self.name = name
        self._service, self._log, self._camera = service, log, camera
        self._problem = ""
        self._ended = threading.Event()
        self._thread = None
        if interval is not None:
            self._thread = threading.Thread(target=self._run, args=(interval,), name="interval", daemon=True)
            self._thread.start()

    @property
    def trouble(self) -> str:
        """Why there are no photos; empty if there are."""
        return self._camera.trouble or self._problem

    def close(self) -> None:
        """Finish the current photo, then release the camera."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        self._camera.close()

    def inspect(self, part: str, seconds: float, master: Kind | None = None) -> Outcome:
        """Photograph and inspect a part; without a verdict in time it is REJECT, and its row has the reason.

        Args:
            part: number of the part.
            seconds: time limit for the verdict.
            master: kind of the master part, if it is one.

        Raises:
            UserError: the table of models has no model for the product in force.
        """
        begun = time.perf_counter()
        model = self._service.models.choose(camera=self.name)
        try:
            photo = self._camera.photo(_PHOTO * seconds)
        except CameraGone as error:
            inspection = _without_verdict(model, f"no photo: {error}")
            return self._recorded(model, inspection, part_of(master) if master else part, begun, seconds, master)
        inspection = self._inspected(model, photo, begun, seconds, master)
        return self._recorded(model, inspection, part_of(master) if master else part, begun, seconds, master)

    def _inspected(
        self, model: ServedModel, photo: bytes, begun: float, seconds: float, master: Kind | None = None
    ) -> Inspection:
        try:
            left = max(0.0, _VERDICT * seconds - (time.perf_counter() - begun))
            inspection = self._service.engine.submit(CameraPhoto(photo, self.name), model.inspector).result(left)
            inspection = inspection if master else self._service.for_line(inspection)
        except (TimeoutError, Busy):
            inspection = _without_verdict(model, f"no verdict within {_VERDICT * seconds:g} s")
        if self._service.kept:
            self._service.kept.keep(photo, inspection)
        return inspection

    def _recorded(
        self, model: ServedModel, inspection: Inspection, part: str, begun: float, seconds: float, master: Kind | None
    ) -> Outcome:
        """The outcome once its row is written; a part whose row is not written in time is rejected."""
        spent = time.perf_counter() - begun
        entry = model.entry(inspection, part, self.name, 1000 * spent)
        try:
            row = self._log.submit(entry).result(max(_LEAST_SECONDS, seconds - spent))
        except (UserError, TimeoutError):
            inspection = replace(inspection, verdict=Verdict.REJECT, reason="its row cannot be written in time")
            return Outcome(model, inspection, None, 1000 * (time.perf_counter() - begun), part)
        if master and self._service.masters:
            self._service.masters.look()
        else:
            self._service.note(model, inspection, entry, row, spent)
        return Outcome(model, inspection, row, 1000 * (time.perf_counter() - begun), part)

    def _run(self, interval: float) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + interval, time.monotonic())  # missed photos are not repeated
            begun = time.perf_counter()
            try:
                model = self._service.models.choose(camera=self.name)
                photo = self._camera.photo(self._service.seconds)
                inspection = self._inspected(model, photo, begun, self._service.seconds)
                spent = time.perf_counter() - begun
                entry = model.entry(inspection, "", self.name, 1000 * spent)
                row = self._service.record_at_last(entry, self._ended.is_set)
                if row is not None:
                    self._service.note(model, inspection, entry, row, spent)
                self._problem = ""
            except Exception as error:  # any error: a dead thread would go unnoticed
                self._problem = str(error) or type(error).__name__
                due = max(due, time.monotonic() + _PAUSE)


def _without_verdict(model: ServedModel, error: str) -> Inspection:
    (inspection,) = model.inspector.inspect_decoded([Decoded(None, None, "", 0.0, error)])
    return replace(inspection, verdict=Verdict.REJECT, reason="no verdict in time")
