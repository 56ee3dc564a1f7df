"""A PLC that triggers photos: the service answers its trigger with a verdict within the deadline."""

import threading

from qc_lightning.core.errors import UserError
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.camera_source import CameraSource
from qc_lightning.service.sinks.plc import Plc

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds before the next try


class PlcTrigger:
    """A thread that reads the PLC's trigger and answers it; see `sinks.plc` for the contract.

    A trigger raised before the connection is not answered: its part has passed, and the PLC has rejected it.

    Args:
        plc: connection to the PLC.
        camera: takes the photos.
        deadline: seconds from reading the trigger to the verdict; after that the verdict is REJECT.

    Attributes:
        trouble: why the PLC cannot be reached; empty if it can.
    """

    def __init__(self, plc: Plc, camera: CameraSource, deadline: float) -> None:
        self.trouble = ""
        self._plc, self._camera, self._deadline = plc, camera, deadline
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plc", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer the current trigger, then end."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        seen: int | None = None
        pause = _FIRST_PAUSE
        while not self._ended.is_set():
            try:
                self._plc.beat()
                trigger, part = self._plc.link.trigger()
                if seen is not None and trigger not in (0, seen):
                    self._answer(trigger, part)
                seen = trigger
                self.trouble, pause = "", _FIRST_PAUSE
                self._ended.wait(self._plc.link.poll)
            except Exception as error:  # libraries raise their own error types
                self._plc.close()
                words = " ".join((str(error) or type(error).__name__).split())
                self.trouble = f"{self._plc.link.target} ({words[:200]})"
                seen = None
                self._ended.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        self._plc.close()

    def _answer(self, trigger: int, part: str) -> None:
        try:
            outcome = self._camera.inspect(part, self._deadline)
        except UserError:  # no product is in force, so no model can inspect the part
            self._plc.answer(Verdict.REJECT, part, 0, trigger)
            return
        self._plc.answer(outcome.result.verdict, part, outcome.row or 0, trigger)
