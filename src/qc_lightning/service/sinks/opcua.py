"""Variables of a PLC or another OPC UA server, found by name below one of its nodes.

The variables are those of the contract in `sinks.plc`. Each value is sent in the type of its variable: the verdict as a
number or a word, a part as a number or text.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from qc_lightning.core.address import host_and_port, split_address
from qc_lightning.core.errors import UserError
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.sinks.delivery import SinkError
from qc_lightning.service.sinks.plc import CODES, Values, number_of

if TYPE_CHECKING:
    from asyncua.sync import Client, SyncNode
    from asyncua.ua import VariantType

_SECONDS = 2.0  # seconds to wait for an answer
_WRITTEN = ("heartbeat", "ready", "alarms", "verdict", "part", "row")
_TRIGGERED = ("answered", "trigger", "trigger_part")  # needed only if the PLC triggers


class Variables:
    """The variables of a PLC.

    Args:
        url: opc.tcp://[user:password@]host[:4840][/path]#<node>, the node as ns=2;s=Inspector or ns=4;i=12.
        security: asyncua's security string: policy,mode,certificate,key[,server's certificate]; None: not encrypted.

    Attributes:
        target: description of the PLC.

    Raises:
        UserError: the address is invalid, or asyncua is missing.
    """

    name, poll = "opcua", 0.05

    def __init__(self, url: str, security: str | None = None) -> None:
        try:
            from asyncua import ua
            from asyncua.ua.uaerrors import UaStringParsingError
        except ModuleNotFoundError as error:
            raise UserError("opcua: needs asyncua: pip install 'qc-lightning[opcua]'") from error
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # our own message is one line
        parts = split_address(url)
        try:
            self._node = ua.NodeId.from_string(parts.fragment)
            valid = parts.scheme == "opc.tcp" and bool(parts.hostname) and bool(parts.fragment)
        except UaStringParsingError:
            valid = False
        if not valid:
            raise UserError("opcua: expected opc.tcp://host:4840#ns=2;s=Inspector, the node that holds the variables")
        host = host_and_port(parts, 4840)
        self.target = f"opc.tcp://{host}{parts.path}#{parts.fragment}"
        files = (security or "").split(",")[2:]
        if security is not None and (len(files) not in (2, 3) or not all(Path(file).is_file() for file in files)):
            raise UserError(
                "opcua_security: expected Basic256Sha256,SignAndEncrypt,certificate.der,key.pem with files that are "
                f"there, got {security}"
            )
        self._url, self._security = f"opc.tcp://{host}{parts.path}", security
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._client: Client | None = None
        self._variables: dict[str, tuple[SyncNode, VariantType]] = {}

    def write(self, values: Values) -> None:
        """Write values in one request; SinkError if the PLC refuses them."""
        from asyncua import ua

        client = self._connected()
        nodes, variants = [], []
        for name, value in values.items():
            node, kind = self._variable(name)
            nodes.append(node)
            # without timestamps, which Siemens' servers refuse
            variants.append(ua.DataValue(ua.Variant(as_kind(value, kind.name), kind)))
        client.write_values(nodes, variants)

    def trigger(self) -> tuple[int, str]:
        """Read the PLC's trigger and its part number; SinkError if the PLC does not answer."""
        client = self._connected()
        trigger, part = client.read_values([self._variable(name)[0] for name in _TRIGGERED[1:]])
        return int(trigger), str(part or "")

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            _let_go(client)

    def _variable(self, name: str) -> "tuple[SyncNode, VariantType]":
        if name not in self._variables:
            expected = ", ".join((*_WRITTEN, *_TRIGGERED))
            raise SinkError(f"no variable '{name}' below that node; expected {expected}")
        return self._variables[name]

    def _connected(self) -> "Client":
        if self._client is None:
            from asyncua.sync import Client

            client = Client(self._url, timeout=_SECONDS, sync_wrapper_timeout=5 * _SECONDS)
            try:
                if self._user:
                    client.set_user(self._user)
                    client.set_password(self._password)
                if self._security:
                    client.application_uri = _uri_of(Path(self._security.split(",")[2]))
                    client.set_security_string(self._security)
                client.connect()
                self._variables = _variables(client.get_node(self._node))
            except BaseException:
                _let_go(client)
                raise
            self._client = client
        return self._client


def _variables(node: "SyncNode") -> "dict[str, tuple[SyncNode, VariantType]]":
    """The variables of the contract below a node, with their types."""
    names = {one.read_browse_name().Name.lower(): one for one in node.get_children()}
    contract = {name: names[name] for name in (*_WRITTEN, *_TRIGGERED) if name in names}
    return {name: (one, one.read_data_type_as_variant_type()) for name, one in contract.items()}


def _uri_of(certificate: Path) -> str:
    """The application URI in a certificate, which the client must use as its own."""
    from cryptography import x509

    data = certificate.read_bytes()
    load = x509.load_pem_x509_certificate if data.startswith(b"-----") else x509.load_der_x509_certificate
    names = load(data).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


def _let_go(client: "Client") -> None:
    """Disconnect, ignoring a server that is already gone."""
    try:
        client.disconnect()
    except Exception:  # the connection's thread has ended anyway
        return


def as_kind(value: int | str | Verdict, kind: str) -> Any:
    """Convert a value to the type of a variable.

    >>> as_kind(Verdict.PASS, "Int16"), as_kind("A-12", "String"), as_kind("4711", "UInt32")
    (1, 'A-12', 4711)
    """
    if kind == "String":
        return str(value)
    number = CODES[value] if isinstance(value, Verdict) else number_of(value) if isinstance(value, str) else value
    return bool(number) if kind == "Boolean" else float(number) if kind in ("Float", "Double") else number
