"""A PLC with OPC UA: a real asyncua server on loopback; contract, types, encryption, disconnection."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_file import query
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.sinks.delivery import Delivery
from qc_lightning.service.sinks.opcua import Variables
from qc_lightning.service.sinks.plc import Plc, PlcSink
from test_camera import frames, model  # noqa: F401  # a fixture
from test_log import entry
from test_service import Server
from test_sinks import free_port, log, until  # noqa: F401  # a fixture

pytest.importorskip("asyncua")
TYPES = {
    "Heartbeat": "UInt16", "Ready": "Boolean", "Alarms": "UInt16", "Verdict": "Int16", "Part": "String",
    "Row": "UInt32", "Answered": "UInt16", "Trigger": "UInt16", "Trigger_Part": "String",
}  # fmt: skip


class Station:
    """A PLC: an OPC UA server with the variables of the contract."""

    def __init__(self, port: int, types: dict[str, str] = TYPES, certificate: Path | None = None) -> None:
        from asyncua import ua
        from asyncua.sync import Server as UaServer

        self.server = UaServer()
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
        if certificate:
            self.server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
            self.server.load_certificate(str(certificate))
            self.server.load_private_key(str(certificate.with_suffix(".pem")))
        space = self.server.register_namespace("urn:line")
        node = self.server.nodes.objects.add_object(ua.NodeId("Inspector", space), "Inspector")
        self.kinds = {name: ua.VariantType[kind] for name, kind in types.items()}
        self.variables = {}
        for name, kind in self.kinds.items():
            start = "" if types[name] == "String" else 0
            self.variables[name] = node.add_variable(ua.NodeId(f"Inspector.{name}", space), name, start, kind)
            self.variables[name].set_writable()
        self.server.start()

    def read(self, *names: str) -> list[Any]:
        return [self.variables[name].read_value() for name in names]

    def trigger(self, number: int, part: str) -> None:
        from asyncua import ua

        for name, value in (("Trigger_Part", part), ("Trigger", number)):
            self.variables[name].write_value(ua.Variant(value, self.kinds[name]))

    def stop(self) -> None:
        self.server.stop()


def address(port: int) -> str:
    return f"opc.tcp://127.0.0.1:{port}#ns=2;s=Inspector"


@pytest.fixture
def port() -> Iterator[int]:
    return free_port()  # type: ignore[return-value]


def now(verdict: str, part: str) -> Any:
    return entry(0)._replace(time=datetime.now(UTC).isoformat(timespec="milliseconds"), verdict=verdict, part=part)


def test_newest_verdicts_arrive_and_a_server_that_was_gone_is_found_again(log: VerdictLog, port: int) -> None:  # noqa: F811
    station = Station(port)
    delivery = Delivery(PlcSink(Plc(Variables(address(port))), 5.0), log)
    until(lambda: station.read("Heartbeat") > [0])
    log.submit(now("PASS", "A-12")).result(30)
    until(lambda: station.read("Verdict", "Part", "Row") == [1, "A-12", 1])
    station.stop()
    log.submit(now("REJECT", "A-13")).result(30)
    until(lambda: f"127.0.0.1:{port}" in delivery.trouble)
    again = Station(port)
    until(lambda: delivery.trouble == "" and again.read("Heartbeat") > [0])
    log.submit(now("REVIEW", "A-14")).result(30)
    until(lambda: again.read("Verdict", "Part", "Row") == [2, "A-14", 3])
    delivery.close()
    again.stop()


@pytest.mark.slow
def test_each_trigger_is_answered_with_its_part(model: Path, tmp_path: Path, port: int) -> None:  # noqa: F811
    station, log = Station(port), tmp_path / "line.sqlite"  # noqa: F811
    frames(tmp_path / "in", 5)
    station.trigger(7, "old")  # raised before the service started: that part has passed
    camera = f"camera={tmp_path / 'in' / 'frame_%02d.png'}"
    server = Server(f"model={model}", f"log={log}", camera, f"opcua={address(port)}", "deadline=1.5")
    until(lambda: station.read("Ready") == [True] and station.read("Heartbeat") > [1])
    assert station.read("Answered") == [0], "not answered"
    for number, part in ((8, "A-12"), (9, "4711")):
        station.trigger(number, part)
        until(lambda number=number: station.read("Answered") == [number])
        verdict, echoed, row = station.read("Verdict", "Part", "Row")
        written = list(query(log))[row - 1].entry
        assert (echoed, written.part, ["PASS", "REVIEW", "REJECT"][verdict - 1]) == (part, part, written.verdict)
    assert server.stop() == 0
    station.stop()


def test_a_value_is_of_the_type_that_its_variable_has(port: int) -> None:
    types = TYPES | {"Verdict": "String", "Part": "UInt32", "Ready": "Float", "Row": "Int64"}
    station, plc = Station(port, types), Plc(Variables(address(port)))
    plc.answer(Verdict.REJECT, "4711", 2**31)
    assert station.read("Verdict", "Part", "Row") == ["REJECT", 4711, 2**31]
    plc.answer(Verdict.PASS, "A-12", 1)
    assert station.read("Verdict", "Part") == ["PASS", 0], "no number: better none than a wrong one"
    plc.close()
    station.stop()


def test_a_variable_that_is_missing_is_named(port: int) -> None:
    station, plc = Station(port, {"Verdict": "Int16"}), Plc(Variables(address(port)))
    with pytest.raises(Exception, match="no variable 'ready' below that node; expected heartbeat, ready, alarms"):
        plc.beat()
    plc.close()
    station.stop()


@pytest.mark.slow
def test_a_server_that_wants_encryption_gets_it(port: int, tmp_path: Path) -> None:
    from asyncua.crypto.cert_gen import setup_self_signed_certificate
    from cryptography.x509.oid import ExtendedKeyUsageOID

    for name, use in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
        key, certificate = tmp_path / f"{name}.pem", tmp_path / f"{name}.der"
        asyncio.run(setup_self_signed_certificate(key, certificate, f"urn:line:{name}", "localhost", [use], {}))
    station = Station(port, certificate=tmp_path / "server.der")
    files = f"{tmp_path / 'client.der'},{tmp_path / 'client.pem'}"
    plc = Plc(Variables(address(port), f"Basic256Sha256,SignAndEncrypt,{files}"))
    plc.answer(Verdict.REVIEW, "A-12", 3)
    assert station.read("Verdict", "Part") == [2, "A-12"]
    plc.close()
    with pytest.raises(Exception, match="No matching endpoints"):
        Plc(Variables(address(port))).beat()
    station.stop()


def test_a_server_that_hangs_takes_no_more_than_a_few_seconds(port: int) -> None:
    import socket

    with socket.create_server(("127.0.0.1", port)):  # accepts the connection and does not answer
        begun = time.monotonic()
        with pytest.raises(Exception):  # noqa: B017, PT011  # whatever asyncua raises
            Plc(Variables(address(port))).beat()
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("url", "security", "words"),
    [
        ("opc.tcp://host:4840", None, "expected opc.tcp://host:4840#ns=2;s=Inspector"),
        ("opc.tcp://host:4840#Inspector", None, "the node that holds the variables"),
        ("http://host#ns=2;i=5", None, "expected opc.tcp://"),
        ("opc.tcp://host#ns=2;i=5", "Basic256Sha256,Sign,none.der,none.pem", "opcua_security: expected Basic256Sha256"),
    ],
)
def test_a_wrong_address_is_one_line(url: str, security: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        Variables(url, security)
    assert "\n" not in str(error.value)
