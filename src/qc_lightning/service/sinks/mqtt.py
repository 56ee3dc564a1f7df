"""Send rows to an MQTT broker, one message each, confirmed by the broker (QoS 1)."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

from qc_lightning.core.address import host_and_port, split_address
from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import Row
from qc_lightning.service.sinks.delivery import SinkError
from qc_lightning.service.sinks.files import as_json

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_SECONDS = 10.0


class Mqtt:
    """A topic of a broker.

    Args:
        url: mqtt://[user:password@]host[:1883]/topic, mqtts:// for TLS (port 8883).

    Raises:
        UserError: the address is invalid, or paho-mqtt is missing.
    """

    name = "mqtt"
    beat: float | None = None

    def __init__(self, url: str) -> None:
        try:
            import paho.mqtt.client  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError("mqtt: needs paho-mqtt: pip install 'qc-lightning[mqtt]'") from error
        parts = split_address(url)
        self._topic = unquote(parts.path.lstrip("/"))
        if (
            parts.scheme not in ("mqtt", "mqtts")
            or not parts.hostname
            or not self._topic
            or parts.fragment
            or "+" in self._topic
        ):
            raise UserError("mqtt: expected mqtt://host:1883/topic, a topic without + and #")
        self._parts = parts
        self._port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self.target = f"{parts.scheme}://{host_and_port(parts, self._port)}/{self._topic}"
        self._client: Client | None = None

    def deliver(self, entries: Sequence[Row]) -> None:
        """Publish each row and wait until the broker has confirmed all."""
        try:
            client = self._client = self._client or self._connected()
            sent = [client.publish(self._topic, json.dumps(as_json(row)), qos=1) for row in entries]
            for message in sent:
                message.wait_for_publish(_SECONDS)
                if not message.is_published():
                    raise SinkError(f"not confirmed within {_SECONDS:g} s")
        except (OSError, ValueError, RuntimeError, SinkError) as error:
            self.close()
            raise SinkError(str(error)) from error

    def close(self) -> None:
        """Disconnect from the broker."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _connected(self) -> "Client":
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        parts = self._parts
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect_timeout = _SECONDS
        if parts.username:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            client.tls_set()
        client.connect(str(parts.hostname), self._port)
        client.loop_start()
        return client
