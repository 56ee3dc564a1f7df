"""Send verdicts to a PLC, independent of the protocol; the PLC is the server, its values are the contract.

| value | written by | content |
|---|---|---|
| heartbeat | service | counts up once per second: if it stands still, the service is gone |
| ready | service | 1 when verdicts can be given |
| alarms | service | a bit each in the order of `counters.ALARMS`, the first is bit 0 |
| verdict | service | 1 PASS, 2 REVIEW, 3 REJECT |
| part | service | part number of the verdict |
| row | service | number of its row, 0 for none; written after the verdict and the part |
| answered | service | the trigger that the verdict answers; written last |
| trigger | PLC | another number than before asks for a photo; 0 asks for nothing |
| trigger_part | PLC | part number, written before the trigger |

A verdict older than the deadline is not sent: by then the PLC has rejected the part.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from qc_lightning.inference.log_entry import Row
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.sinks.delivery import SinkError

_BEAT = 1.0  # seconds
_MOST_BEATS = 2**15  # fits a signed word

State = Callable[[], tuple[bool, int]]
"""Whether verdicts can be given, and the alarms as bits."""

Values = Mapping[str, int | str | Verdict]
"""Values by the names of the contract; a part is text."""

CODES = {Verdict.PASS: 1, Verdict.REVIEW: 2, Verdict.REJECT: 3}


class Link(Protocol):
    """A connection to a PLC; any exception means that the PLC does not answer.

    Attributes:
        name: name of its kind, one word.
        target: description of the PLC, without secrets.
        poll: seconds between reads of the trigger.
    """

    name: str
    target: str
    poll: float

    def write(self, values: Values) -> None:
        """Write values in order, connecting if necessary."""
        ...

    def trigger(self) -> tuple[int, str]:
        """Read the PLC's trigger and its part number."""
        ...

    def close(self) -> None:
        """Close the connection; the next call connects again."""
        ...


class Plc:
    """A PLC.

    Args:
        link: connection to the PLC.

    Attributes:
        link: as given.
        state: returns the state of the service.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.state: State = lambda: (False, 0)
        self._beats, self._beaten = 0, float("-inf")

    def beat(self) -> None:
        """Write heartbeat, ready and alarms once per second."""
        if time.monotonic() - self._beaten < _BEAT:
            return
        ready, alarms = self.state()
        self.link.write({"ready": int(ready), "alarms": alarms})
        self._beats, self._beaten = (self._beats + 1) % _MOST_BEATS, time.monotonic()
        self.link.write({"heartbeat": self._beats})

    def answer(self, verdict: Verdict, part: str, row: int, trigger: int | None = None) -> None:
        """Write a verdict.

        Args:
            verdict: verdict for the line.
            part: number of the part.
            row: number of its row, 0 for none.
            trigger: the trigger that it answers; None: the part was not triggered by the PLC.
        """
        self.link.write({"verdict": verdict, "part": part})
        self.link.write({"row": row})
        if trigger is not None:
            self.link.write({"answered": trigger})

    def close(self) -> None:
        """Close the connection; the next one sends a heartbeat at once."""
        self._beaten = float("-inf")
        self.link.close()


class PlcSink:
    """A sink that sends the verdicts of all sources to a PLC.

    Args:
        plc: the PLC that receives them.
        deadline: seconds from a row's time after which its verdict is not sent.
    """

    beat: float | None = _BEAT

    def __init__(self, plc: Plc, deadline: float) -> None:
        self._plc, self._deadline = plc, deadline
        self.name, self.target = plc.link.name, plc.link.target

    def deliver(self, entries: Sequence[Row]) -> None:
        """Write the recent verdicts in order, and the heartbeat when it is due."""
        try:
            self._plc.beat()
            for number, entry, _ in entries:
                age = (datetime.now(UTC) - datetime.fromisoformat(entry.time)).total_seconds()
                if entry.overrides is None and age <= self._deadline:
                    self._plc.answer(Verdict(entry.verdict), entry.part, number)
        except Exception as error:  # libraries raise their own error types
            self.close()
            raise SinkError(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Close the connection."""
        self._plc.close()


def number_of(part: str) -> int:
    """A part number as an integer; 0 if it is not a number below 2^32.

    >>> number_of("4711"), number_of("A-12"), number_of("4294967296")
    (4711, 0, 0)
    """
    return int(part) if part.isdecimal() and int(part) < 2**32 else 0
