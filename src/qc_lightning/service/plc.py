"""A PLC that asks for photos: it raises its trigger, the service answers with the verdict within the deadline."""

import threading

from qc_lightning.core.errors import UserError
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.camera_source import CameraSource
from qc_lightning.service.sinks.modbus import Registers

_POLL_SECONDS = 0.01
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds before the next try


class PlcTrigger:
    """A thread that reads the PLC's trigger and answers it; see `sinks.modbus` for the registers.

    A trigger that was raised before the connection is not answered: its part has gone by, and the PLC has rejected it.

    Args:
        registers: of the PLC.
        camera: that takes the photos.
        deadline: seconds from the trigger's reading to the verdict; after that it is REJECT.

    Attributes:
        trouble: why the PLC cannot be reached; empty when it can.
    """

    def __init__(self, registers: Registers, camera: CameraSource, deadline: float) -> None:
        self.trouble = ""
        self._registers, self._camera, self._deadline = registers, camera, deadline
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plc", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer the trigger at hand, then end."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        seen: int | None = None
        pause = _FIRST_PAUSE
        while not self._ended.is_set():
            try:
                self._registers.beat()
                trigger, part = self._registers.trigger()
                if seen is not None and trigger not in (0, seen):
                    self._answer(trigger, part)
                seen = trigger
                self.trouble, pause = "", _FIRST_PAUSE
                self._ended.wait(_POLL_SECONDS)
            except Exception as error:  # pymodbus raises kinds of its own
                self._registers.close()
                self.trouble = f"{self._registers.target} ({' '.join(str(error).split())[:200]})"
                seen = None
                self._ended.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        self._registers.close()

    def _answer(self, trigger: int, part: int) -> None:
        number = str(part) if part else ""
        try:
            outcome = self._camera.inspect(number, self._deadline)
        except UserError:  # no product is in force: nothing vouches for the part
            self._registers.answer(Verdict.REJECT, number, 0, trigger)
            return
        self._registers.answer(outcome.result.verdict, number, outcome.row or 0, trigger)
