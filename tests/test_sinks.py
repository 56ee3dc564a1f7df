"""Real receivers of verdicts on loopback: all rows arrive in order, also those written while a receiver was down."""

import asyncio
import csv
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from qc_lightning.core.csv_files import Marks
from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import HEADER
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.service.sinks.delivery import Delivery, Sink
from qc_lightning.service.sinks.files import csv_sink, json_lines_sink
from qc_lightning.service.sinks.modbus import Registers
from qc_lightning.service.sinks.mqtt import Mqtt
from qc_lightning.service.sinks.opcua import Variables
from qc_lightning.service.sinks.plc import Plc, PlcSink
from qc_lightning.service.sinks.webhook import Webhook
from test_log import entry


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[VerdictLog]:
    log = VerdictLog(tmp_path / "line.sqlite")
    yield log
    log.close()


def write(log: VerdictLog, *numbers: int) -> None:
    for number in numbers:
        log.submit(entry(number)).result(30)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Receiver:
    """An HTTP server that stores its requests and answers every third one with 500."""

    def __init__(self, port: int, faulty: bool = False) -> None:
        got: list[int] = []
        calls = iter(range(10_000))

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refuse = faulty and next(calls) % 3 == 0
                if not refuse:
                    got.extend(row["id"] for row in body["rows"])
                self.send_response(500 if refuse else 204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.got = got
        self.server = HTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_webhook_gets_all_rows_also_those_from_while_it_was_gone(log: VerdictLog) -> None:
    port = free_port()
    receiver = Receiver(port, faulty=True)
    delivery = Delivery(Webhook(f"http://127.0.0.1:{port}/rows"), log)
    write(log, *range(5))
    until(lambda: len(receiver.got) == 5)
    receiver.stop()
    write(log, 5, 6)
    until(lambda: delivery.trouble != "")
    assert f"127.0.0.1:{port}" in delivery.trouble
    write(log, 7)
    second = Receiver(port)
    until(lambda: len(second.got) >= 3)
    delivery.close()
    second.stop()
    assert receiver.got + second.got == list(range(1, 9))
    assert delivery.trouble == ""


def test_what_was_not_delivered_is_delivered_after_a_restart(log: VerdictLog) -> None:
    port = free_port()
    sink = f"http://127.0.0.1:{port}/"
    first = Delivery(Webhook(sink), log)
    write(log, 1, 2)
    until(lambda: first.trouble != "")
    first.close()
    receiver = Receiver(port)
    second = Delivery(Webhook(sink), log)
    until(lambda: receiver.got == [1, 2])
    second.close()
    third = Delivery(Webhook(sink), log)
    write(log, 3)
    until(lambda: receiver.got == [1, 2, 3])
    third.close()
    receiver.stop()


def test_files_get_each_row_once(log: VerdictLog, tmp_path: Path) -> None:
    sinks: list[Sink] = [csv_sink(tmp_path / "a.csv", Marks(";", ",")), json_lines_sink(tmp_path / "a.jsonl")]
    deliveries = [Delivery(sink, log) for sink in sinks]
    write(log, *range(150))
    log.submit(entry(1)._replace(part='=HYPERLINK("http://evil")', reason="-")).result(30)
    for delivery in deliveries:
        delivery.close()
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert [int(row["id"]) for row in rows] == list(range(1, 152))
    assert list(rows[0]) == list(HEADER)
    assert float(rows[3]["probability"].replace(",", ".")) == 3 / 7
    assert rows[150]["part"].startswith("'="), "a spreadsheet would run it"
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == list(range(1, 152))
    assert lines[3]["probability"] == 3 / 7


def test_a_new_receiver_gets_the_rows_from_now_on(log: VerdictLog, tmp_path: Path) -> None:
    write(log, 1, 2)
    delivery = Delivery(json_lines_sink(tmp_path / "a.jsonl"), log)
    write(log, 3)
    delivery.close()
    assert [json.loads(line)["id"] for line in (tmp_path / "a.jsonl").read_text().splitlines()] == [3]


def in_loop(serve: Callable[[], Any]) -> tuple[asyncio.AbstractEventLoop, Any]:
    """The result of an async server's start, with its loop running in a thread."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def start() -> Any:
        return await serve()

    return loop, asyncio.run_coroutine_threadsafe(start(), loop).result(20)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_mqtt_broker_gets_each_row(log: VerdictLog) -> None:
    broker_of = pytest.importorskip("amqtt.broker")
    paho = pytest.importorskip("paho.mqtt.client")
    port = free_port()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }

    async def start() -> Any:
        broker = broker_of.Broker(config)
        await broker.start()
        return broker

    loop, broker = in_loop(start)
    got: list[int] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: got.append(json.loads(message.payload)["id"])
    client.connect("127.0.0.1", port)
    client.subscribe("line/3", qos=1)
    client.loop_start()
    time.sleep(0.5)
    delivery = Delivery(Mqtt(f"mqtt://127.0.0.1:{port}/line/3"), log)
    write(log, *range(20))
    until(lambda: len(got) == 20)
    delivery.close()
    client.disconnect()
    client.loop_stop()
    assert got == list(range(1, 21))
    assert delivery.trouble == ""
    asyncio.run_coroutine_threadsafe(broker.shutdown(), loop).result(20)
    gone = Mqtt(f"mqtt://127.0.0.1:{port}/line/3")
    with pytest.raises(Exception, match=r"refused|Connection"):
        gone.deliver([])


def test_a_plc_sees_the_newest_verdict_and_a_heartbeat(log: VerdictLog) -> None:
    pymodbus = pytest.importorskip("pymodbus.server")
    from pymodbus.client import ModbusTcpClient
    from pymodbus.simulator import DataType, SimData, SimDevice

    port = free_port()
    device = SimDevice(1, simdata=[SimData(0, count=50, datatype=DataType.REGISTERS, values=0)])

    async def start() -> Any:
        server = pymodbus.ModbusTcpServer(device, address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        return server

    loop, server = in_loop(start)
    plc = ModbusTcpClient("127.0.0.1", port=port)
    plc.connect()

    def registers() -> list[int]:
        return list(plc.read_holding_registers(10, count=4).registers)

    from datetime import UTC, datetime

    def now(verdict: str) -> Any:
        return entry(0)._replace(time=datetime.now(UTC).isoformat(timespec="milliseconds"), verdict=verdict)

    delivery = Delivery(PlcSink(Plc(Registers(f"modbus://127.0.0.1:{port}/10")), 5.0), log)
    until(lambda: registers()[0] >= 1)
    log.submit(now("PASS")).result(30)
    until(lambda: registers()[1:] == [1, 0, 1])
    log.submit(now("REJECT")).result(30)
    until(lambda: registers()[1:] == [3, 0, 2])
    write(log, 7)  # from January: too old
    log.submit(now("REVIEW")).result(30)
    until(lambda: registers()[1:] == [2, 0, 4])
    before = registers()[0]
    until(lambda: registers()[0] > before)
    assert delivery.trouble == ""
    delivery.close()
    plc.close()
    asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(20)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Webhook("ftp://Anna:secret@x/"), "expected http://host/path or https://host/path, got ftp://x/"),
        (lambda: Webhook("http://x:abc/"), "expected http://"),
        (lambda: Webhook("http://[::1/"), "expected http://"),
        (lambda: Webhook("http://a b/"), "expected http://"),
        (lambda: Mqtt("mqtt://host:99999/topic"), "expected mqtt://host:1883/topic"),
        (lambda: Registers("modbus://host:abc/0"), "expected modbus://host:502/0"),
        (lambda: Registers("modbus://host/²"), "expected modbus://host:502/0"),
        (lambda: Variables("opc.tcp://host:99999#ns=2;s=x"), "expected opc.tcp://host:4840"),
        (lambda: Mqtt("mqtt://host/"), "expected mqtt://host:1883/topic"),
        (lambda: Mqtt("mqtt://host/a/+"), "a topic without"),
        (lambda: Registers("modbus://host/70000"), "expected modbus://host:502/0"),
    ],
)
def test_a_wrong_address_is_one_line(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        make()
    assert "\n" not in str(error.value)
