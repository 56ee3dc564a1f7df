"""Holding registers of a PLC by Modbus TCP.

| register | value of the contract, see `sinks.plc` |
|---|---|
| base | heartbeat |
| base + 1 | verdict |
| base + 2, base + 3 | row, high and low 16 bits |
| base + 4 | ready |
| base + 5 | alarms |
| base + 6, base + 7 | part, high and low 16 bits; 0 where it is not a number below 2^32 |
| base + 8 | answered |
| base + 9 | trigger |
| base + 10, base + 11 | trigger_part, high and low 16 bits |
"""

from typing import TYPE_CHECKING

from qc_lightning.core.address import host_and_port, split_address, without_secrets
from qc_lightning.core.errors import UserError
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.sinks.delivery import SinkError
from qc_lightning.service.sinks.plc import CODES, Values, number_of

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient
    from pymodbus.pdu import ModbusPDU

_SECONDS = 2.0
_PLACES = {"heartbeat": 0, "verdict": 1, "row": 2, "ready": 4, "alarms": 5, "part": 6, "answered": 8, "trigger": 9}
_LAST = 11


class Registers:
    """The registers of a PLC.

    Args:
        url: modbus://host[:502][/base], the base register, 0 by default.

    Attributes:
        target: description of the PLC.

    Raises:
        UserError: the address is invalid, or pymodbus is missing.
    """

    name, poll = "modbus", 0.01

    def __init__(self, url: str) -> None:
        try:
            import pymodbus  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError("modbus: needs pymodbus: pip install 'qc-lightning[modbus]'") from error
        parts = split_address(url)
        base = parts.path.lstrip("/") or "0"
        if parts.scheme != "modbus" or not parts.hostname or not base.isdecimal() or int(base) > 65535 - _LAST:
            wanted = "expected modbus://host:502/0 with the base register"
            raise UserError(f"modbus: {wanted}, got {without_secrets(url)}")
        self._host, self._port, self._base = parts.hostname, parts.port or 502, int(base)
        self.target = f"modbus://{host_and_port(parts, 502)}/{base}"
        self._client: ModbusTcpClient | None = None

    def write(self, values: Values) -> None:
        """Write values in order; SinkError if the PLC refuses them."""
        client = self._connected()
        for name, value in values.items():
            _accepted(client.write_registers(self._base + _PLACES[name], _words(name, value)))

    def trigger(self) -> tuple[int, str]:
        """Read the PLC's trigger and its part number; SinkError if the PLC does not answer."""
        place = self._base + _PLACES["trigger"]
        trigger, high, low = _accepted(self._connected().read_holding_registers(place, count=3)).registers
        part = high << 16 | low
        return trigger, str(part) if part else ""

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def _connected(self) -> "ModbusTcpClient":
        from pymodbus.client import ModbusTcpClient

        if self._client is None:
            client = ModbusTcpClient(self._host, port=self._port, timeout=_SECONDS, retries=0)
            if not client.connect():  # type: ignore[no-untyped-call]
                raise SinkError("no connection")
            self._client = client
        return self._client


def _words(name: str, value: int | str | Verdict) -> list[int]:
    """A value as registers.

    >>> _words("row", 65537), _words("part", "4711"), _words("verdict", Verdict.REJECT)
    ([1, 1], [0, 4711], [3])
    """
    if isinstance(value, Verdict):
        return [CODES[value]]
    number = number_of(value) if isinstance(value, str) else value
    return [number >> 16 & 0xFFFF, number & 0xFFFF] if name in ("row", "part") else [number]


def _accepted(answer: "ModbusPDU") -> "ModbusPDU":
    if answer.isError():
        raise SinkError(f"the PLC refused: {answer}")
    return answer
