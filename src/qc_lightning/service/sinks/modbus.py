"""Verdicts to a PLC by Modbus TCP: the newest in four holding registers, and a heartbeat.

| register | content |
|---|---|
| base | heartbeat, counts up once a second: if it stands still, the service is gone |
| base + 1 | verdict of the newest row: 1 PASS, 2 REVIEW, 3 REJECT |
| base + 2, base + 3 | number of that row, high and low 16 bits, written last: a change means that a verdict is there |

A verdict that is older than the deadline is not sent: by then the PLC has rejected the part.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import Row
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.sinks.delivery import SinkError

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

_CODES = {Verdict.PASS: 1, Verdict.REVIEW: 2, Verdict.REJECT: 3}
_SECONDS, _BEAT = 2.0, 1.0


class Modbus:
    """Registers of a PLC.

    Args:
        url: modbus://host[:502][/base], the base register, 0 by default.
        deadline: seconds from a row's time after which its verdict is not sent.

    Raises:
        UserError: it is no such address, or pymodbus is missing.
    """

    name = "modbus"
    beat: float | None = _BEAT

    def __init__(self, url: str, deadline: float) -> None:
        try:
            import pymodbus  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError("modbus: needs pymodbus: pip install 'qc-lightning[modbus]'") from error
        parts = urlsplit(url)
        base = parts.path.lstrip("/") or "0"
        if parts.scheme != "modbus" or not parts.hostname or not base.isdigit() or int(base) > 65532:
            raise UserError(f"modbus: expected modbus://host:502/0 with the base register, got {url}")
        self._host, self._port, self._base = parts.hostname, parts.port or 502, int(base)
        self.target = f"modbus://{self._host}:{self._port}/{base}"
        self._deadline, self._beats, self._beaten = deadline, 0, 0.0
        self._client: ModbusTcpClient | None = None

    def deliver(self, rows: Sequence[Row]) -> None:
        """Write the verdicts that are not too old, in order, and the heartbeat when it is due."""
        try:
            client = self._client = self._client or self._connected()
            if time.monotonic() - self._beaten >= _BEAT:
                self._beats, self._beaten = (self._beats + 1) % 65536, time.monotonic()
                _accepted(client.write_registers(self._base, [self._beats]))
            for number, entry, _ in rows:
                age = (datetime.now(UTC) - datetime.fromisoformat(entry.time)).total_seconds()
                if entry.overrides is None and age <= self._deadline:
                    _accepted(client.write_registers(self._base + 1, [_CODES[Verdict(entry.verdict)]]))
                    _accepted(client.write_registers(self._base + 2, [number >> 16 & 0xFFFF, number & 0xFFFF]))
        except Exception as error:  # pymodbus raises kinds of its own
            self.close()
            raise SinkError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def _connected(self) -> "ModbusTcpClient":
        from pymodbus.client import ModbusTcpClient

        client = ModbusTcpClient(self._host, port=self._port, timeout=_SECONDS, retries=0)
        if not client.connect():  # type: ignore[no-untyped-call]
            raise SinkError("no connection")
        return client


def _accepted(answer: object) -> None:
    if getattr(answer, "isError", lambda: False)():
        raise SinkError(f"the PLC refused: {answer}")
