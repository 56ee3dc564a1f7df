"""Verdicts to a PLC by Modbus TCP; the PLC is the server, its holding registers are the contract.

| register | written by | content |
|---|---|---|
| base | service | heartbeat, counts up once a second: if it stands still, the service is gone |
| base + 1 | service | verdict: 1 PASS, 2 REVIEW, 3 REJECT |
| base + 2, base + 3 | service | number of its row, high and low 16 bits; written after the verdict and the part |
| base + 4 | service | ready: 1 when verdicts can be given |
| base + 5 | service | alarms, a bit each in the order of `counters.ALARMS`, the first is bit 0 |
| base + 6, base + 7 | service | part number of the verdict; 0 where it is no number below 2^32 |
| base + 8 | service | the trigger that the verdict answers; written last |
| base + 9 | PLC | trigger: another number than before asks for a photo; 0 asks for nothing |
| base + 10, base + 11 | PLC | part number, written before the trigger |

A verdict that is older than the deadline is not sent: by then the PLC has rejected the part.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import Row
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.sinks.delivery import SinkError

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient
    from pymodbus.pdu import ModbusPDU

_CODES = {Verdict.PASS: 1, Verdict.REVIEW: 2, Verdict.REJECT: 3}
_SECONDS, _BEAT = 2.0, 1.0
_VERDICT, _ROW, _READY, _PART, _ANSWERED, _TRIGGER = 1, 2, 4, 6, 8, 9  # places from the base on
_LAST = 11

State = Callable[[], tuple[bool, int]]
"""Whether verdicts can be given, and the alarms as bits."""


class Registers:
    """The registers of a PLC.

    Args:
        url: modbus://host[:502][/base], the base register, 0 by default.

    Attributes:
        target: which PLC, in words.
        state: of the service.

    Raises:
        UserError: it is no such address, or pymodbus is missing.
    """

    def __init__(self, url: str) -> None:
        try:
            import pymodbus  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError("modbus: needs pymodbus: pip install 'qc-lightning[modbus]'") from error
        parts = urlsplit(url)
        base = parts.path.lstrip("/") or "0"
        if parts.scheme != "modbus" or not parts.hostname or not base.isdigit() or int(base) > 65535 - _LAST:
            raise UserError(f"modbus: expected modbus://host:502/0 with the base register, got {url}")
        self._host, self._port, self._base = parts.hostname, parts.port or 502, int(base)
        self.target = f"modbus://{self._host}:{self._port}/{base}"
        self.state: State = lambda: (False, 0)
        self._beats, self._beaten = 0, 0.0
        self._client: ModbusTcpClient | None = None

    def beat(self) -> None:
        """Write heartbeat, ready and alarms once a second; SinkError when the PLC does not take them."""
        if time.monotonic() - self._beaten < _BEAT:
            return
        ready, alarms = self.state()
        self._write(_READY, int(ready), alarms)
        self._beats, self._beaten = (self._beats + 1) % 65536, time.monotonic()
        self._write(0, self._beats)

    def answer(self, verdict: Verdict, part: str, row: int, trigger: int | None = None) -> None:
        """Write a verdict; SinkError when the PLC does not take it.

        Args:
            verdict: that the line gets.
            part: number of the part.
            row: number of its row, 0 for none.
            trigger: that it answers; None: the part came another way.
        """
        number = int(part) if part.isdecimal() and int(part) < 2**32 else 0
        self._write(_VERDICT, _CODES[verdict])
        self._write(_PART, *_halves(number))
        self._write(_ROW, *_halves(row))
        if trigger is not None:
            self._write(_ANSWERED, trigger)

    def trigger(self) -> tuple[int, int]:
        """The PLC's trigger and the part number beside it; SinkError when the PLC does not give them."""
        answer = _accepted(self._connected().read_holding_registers(self._base + _TRIGGER, count=3))
        trigger, high, low = answer.registers
        return trigger, high << 16 | low

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def _write(self, place: int, *values: int) -> None:
        _accepted(self._connected().write_registers(self._base + place, list(values)))

    def _connected(self) -> "ModbusTcpClient":
        from pymodbus.client import ModbusTcpClient

        if self._client is None:
            client = ModbusTcpClient(self._host, port=self._port, timeout=_SECONDS, retries=0)
            if not client.connect():  # type: ignore[no-untyped-call]
                raise SinkError("no connection")
            self._client, self._beaten = client, 0.0
        return self._client


class Modbus:
    """A PLC that gets the verdicts of all sources.

    Args:
        registers: of the PLC.
        deadline: seconds from a row's time after which its verdict is not sent.
    """

    name = "modbus"
    beat: float | None = _BEAT

    def __init__(self, registers: Registers, deadline: float) -> None:
        self._registers, self._deadline, self.target = registers, deadline, registers.target

    def deliver(self, entries: Sequence[Row]) -> None:
        """Write the verdicts that are not too old, in order, and the heartbeat when it is due."""
        try:
            self._registers.beat()
            for number, entry, _ in entries:
                age = (datetime.now(UTC) - datetime.fromisoformat(entry.time)).total_seconds()
                if entry.overrides is None and age <= self._deadline:
                    self._registers.answer(Verdict(entry.verdict), entry.part, number)
        except Exception as error:  # pymodbus raises kinds of its own
            self.close()
            raise SinkError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._registers.close()


def _halves(number: int) -> tuple[int, int]:
    return number >> 16 & 0xFFFF, number & 0xFFFF


def _accepted(answer: "ModbusPDU") -> "ModbusPDU":
    if answer.isError():
        raise SinkError(f"the PLC refused: {answer}")
    return answer
