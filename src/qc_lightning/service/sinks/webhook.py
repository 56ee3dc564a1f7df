"""Send waiting rows to a program by HTTP, in one POST of JSON."""

import base64
import http.client
import json
from collections.abc import Sequence
from urllib.parse import unquote

from qc_lightning.core.address import host_and_port, split_address, without_secrets
from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import Row
from qc_lightning.service.sinks.delivery import SinkError
from qc_lightning.service.sinks.files import as_json

_SECONDS = 10.0


class Webhook:
    """An address that accepts `{"rows": [...]}`; any status from 200 to 299 confirms them.

    Args:
        url: http:// or https://, with user:password@ for basic authentication; the certificate of an https address is
            checked.

    Raises:
        UserError: the address is invalid.
    """

    name = "webhook"
    beat: float | None = None

    def __init__(self, url: str) -> None:
        parts = split_address(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or " " in url:
            raise UserError(f"webhook: expected http://host/path or https://host/path, got {without_secrets(url)}")
        self._parts, self._headers = parts, {"Content-Type": "application/json"}
        if parts.username:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        self.target = f"{parts.scheme}://{host_and_port(parts, 443 if parts.scheme == 'https' else 80)}{parts.path}"

    def deliver(self, entries: Sequence[Row]) -> None:
        """Send the rows and wait for the answer."""
        parts = self._parts
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=_SECONDS)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            body = json.dumps({"rows": [as_json(row) for row in entries]})
            connection.request("POST", path, body, self._headers)
            status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise SinkError(f"no answer of HTTP: {error!r}") from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise SinkError(f"expected an answer from 200 to 299, got {status}")

    def close(self) -> None:
        """Do nothing: each delivery has its own connection."""
