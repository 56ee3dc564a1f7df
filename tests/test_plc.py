"""The contract with a PLC, against a real Modbus server: trigger, part number, verdict, ready, heartbeat, deadline."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.log_file import query
from qc_lightning.service.counters import ALARMS
from test_camera import frames, model  # noqa: F401  # a fixture
from test_service import Server
from test_sinks import free_port, in_loop, until

CODES = {"PASS": 1, "REVIEW": 2, "REJECT": 3}
BASE = 10


class Plc:
    """A PLC: a Modbus server with registers, and the program that reads and writes them."""

    def __init__(self, port: int) -> None:
        from pymodbus.client import ModbusTcpClient
        from pymodbus.server import ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        device = SimDevice(1, simdata=[SimData(0, count=50, datatype=DataType.REGISTERS, values=0)])

        async def start() -> Any:
            server = ModbusTcpServer(device, address=("127.0.0.1", port))
            await server.serve_forever(background=True)
            return server

        self.loop, self.server = in_loop(start)
        self.client = ModbusTcpClient("127.0.0.1", port=port)
        assert self.client.connect()

    def read(self, place: int, count: int = 1) -> list[int]:
        return list(self.client.read_holding_registers(BASE + place, count=count).registers)

    def trigger(self, number: int, part: int) -> None:
        self.client.write_registers(BASE + 10, [part >> 16, part & 0xFFFF])
        self.client.write_registers(BASE + 9, [number])

    def answer(self, number: int, seconds: float = 10) -> tuple[int, int, int]:
        """Verdict, part and row once the trigger is answered."""
        until(lambda: self.read(8) == [number], seconds)
        _, verdict, row_high, row_low, _, _, part_high, part_low = self.read(0, 8)
        return verdict, part_high << 16 | part_low, row_high << 16 | row_low

    def stop(self) -> None:
        self.client.close()
        asyncio.run_coroutine_threadsafe(self.server.shutdown(), self.loop).result(20)


@pytest.fixture
def plc() -> Iterator[tuple[int, Plc]]:
    pytest.importorskip("pymodbus")
    port = free_port()
    plc = Plc(port)
    yield port, plc
    plc.stop()


def test_each_trigger_is_answered_with_its_part(plc: tuple[int, Plc], model: Path, tmp_path: Path) -> None:  # noqa: F811
    port, one = plc
    photos, log = frames(tmp_path / "in", 20), tmp_path / "line.sqlite"
    one.trigger(7, 100)  # raised before the service started: that part has passed
    settings = (f"model={model}", f"log={log}", f"camera={tmp_path / 'in' / 'frame_%02d.png'}")
    server = Server(*settings, f"modbus=modbus://127.0.0.1:{port}/{BASE}", "deadline=1.5")
    until(lambda: one.read(0) != [0] and one.read(4) == [1])
    time.sleep(0.3)
    assert one.read(8) == [0], "not answered"
    inspector = ExportedInspector.load(model)
    for number, part in ((8, 4711), (9, 70_000), (1, 2**32 - 1)):
        photo = photos[(8, 9, 1).index(number)]
        one.trigger(number, part)
        verdict, echoed, row = one.answer(number)
        assert (echoed, CODES[inspector(np.asarray(Image.open(photo))).verdict]) == (part, verdict)
        entry = list(query(log))[row - 1].entry
        assert (entry.part, CODES[entry.verdict]) == (str(part), verdict)
    assert one.read(5) == [0]
    # the camera is gone: REJECT once the deadline is over, ready falls, the alarm's bit is set
    shutil.rmtree(tmp_path / "in")
    for number in range(30, 60):
        begun = time.monotonic()
        one.trigger(number, 5)
        verdict, part, row = one.answer(number)
        if list(query(log))[row - 1].entry.error:
            break
    assert (verdict, part) == (CODES["REJECT"], 5)
    assert 1.1 < time.monotonic() - begun < 3
    until(lambda: one.read(4) == [0] and one.read(5) == [1 << ALARMS.index("camera")])
    beats = one.read(0)
    until(lambda: one.read(0) != beats)
    assert server.stop() == 0


def test_a_plc_that_was_gone_is_an_alarm_and_its_old_trigger_is_not_answered(
    plc: tuple[int, Plc],
    model: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    port, one = plc
    frames(tmp_path / "in", 9)
    settings = (f"model={model}", f"log={tmp_path / 'line.sqlite'}", f"camera={tmp_path / 'in' / 'frame_%02d.png'}")
    server = Server(*settings, f"modbus=modbus://127.0.0.1:{port}/{BASE}")
    until(lambda: one.read(4) == [1])
    one.trigger(1, 1)
    assert one.answer(1)[1] == 1
    one.stop()
    until(lambda: "plc" in server.client.get("/v1/state").json()["alarms"])
    again = Plc(port)
    again.trigger(2, 2)
    until(lambda: again.read(4) == [1])
    time.sleep(0.3)
    assert again.read(8) == [0], "the service cannot know how old that trigger is"
    again.trigger(3, 3)
    assert again.answer(3)[1] == 3
    assert server.client.get("/v1/state").json()["alarms"] == {}
    assert server.stop() == 0
    one.client, one.loop, one.server = again.client, again.loop, again.server


def test_verdicts_of_other_sources_reach_the_plc_too(plc: tuple[int, Plc], model: Path, tmp_path: Path) -> None:  # noqa: F811
    port, one = plc
    server = Server(f"model={model}", f"log={tmp_path / 'a.sqlite'}", f"modbus=modbus://127.0.0.1:{port}/{BASE}")
    photo = frames(tmp_path, 1)[0].read_bytes()
    answer = server.client.post("/v1/inspect", params={"part": "4711"}, content=photo).json()
    until(lambda: one.read(1, 3) == [CODES[answer["verdict"]], 0, 1])
    assert one.read(6, 3) == [0, 4711, 0]
    server.client.post("/v1/inspect", params={"part": "A-12"}, content=photo)
    until(lambda: one.read(1, 3) == [CODES[answer["verdict"]], 0, 2])
    assert (one.read(6, 2), one.read(4)) == ([0, 0], [1])
    # a wrong verdict on a master part blocks the line: not ready, bit 1
    wrong = "good" if answer["verdict"] != "PASS" else "bad"
    server.client.post("/v1/inspect", params={"master": wrong}, content=photo)
    until(lambda: one.read(4, 2) == [0, 1 << ALARMS.index("masters")])
    assert server.stop() == 0
