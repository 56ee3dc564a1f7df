"""Refuse requests before reading the photo: large or slow bodies, missing tokens, pages of other sites."""

import asyncio
import contextlib
import ipaddress
import json
import os
import secrets
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qc_lightning.config.serving import ServeConfig, check_token
from qc_lightning.core.address import split_address
from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import RECORD, read_text

OPEN = ("/", "/health", "/ready", "/docs")
"""Paths without a token: they reveal nothing about photos or verdicts."""


class _Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def token_of(config: ServeConfig) -> str | None:
    """The token that clients must send; None if none is set.

    Raises:
        UserError: its file cannot be read, it is too short, or there is none for an address that others reach.
    """
    if config.token_file is not None:
        try:
            return check_token(read_text(Path(config.token_file).expanduser(), RECORD))
        except OSError as error:
            raise UserError(f"token_file: cannot read {config.token_file} ({error.strerror})") from error
    given = os.environ.get("QC_LIGHTNING_TOKEN")
    if given is None and not is_loopback(config.host):
        raise UserError(f"host={config.host}: expected token_file= with an address that others reach, got none")
    return None if given is None else check_token(given)


class Limits:
    """ASGI middleware that bounds each request's body in size and time and asks for the token.

    A browser sends the origin of the page that makes a request. Requests from pages of other sites are refused, so that
    no website can use a service that listens on loopback. Without a token the name in the request has to be a loopback
    one, since a website can make its own name point to this machine (DNS rebinding).

    Args:
        app: the application.
        body_bytes: the largest body, 1 or more.
        seconds: time limit for receiving a body, above 0.
        token: clients must send it as `Authorization: Bearer <token>`; None: no token is required.
    """

    def __init__(self, app: ASGIApp, body_bytes: int, seconds: float, token: str | None = None) -> None:
        self._app, self._body_bytes, self._seconds, self._token = app, body_bytes, seconds, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            try:
                self._check(scope["path"], headers)
            except _Refused:
                await _drain(receive, deadline)
                raise
            body = await self._body(receive, deadline)
        except _Refused as reason:
            await _answer(send, reason)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def read() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, read, send)

    async def _body(self, receive: Receive, deadline: float) -> bytes:
        """Read the complete body first, so that the application never waits for a slow client."""
        parts, taken, more = [], 0, True
        try:
            async with asyncio.timeout_at(deadline):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Refused(400, "the client went away")
                    parts.append(message.get("body", b""))
                    taken, more = taken + len(parts[-1]), message.get("more_body", False)
                    if taken > self._body_bytes:
                        if more:
                            await _drain(receive, deadline)
                        raise _Refused(413, _too_large(self._body_bytes))
        except TimeoutError:
            raise _Refused(408, f"expected the body within {self._seconds:g} s: send it faster") from None
        return b"".join(parts)

    def _check(self, path: str, headers: dict[str, str]) -> None:
        origin = headers.get("origin")
        if origin is not None and split_address(origin).netloc != headers.get("host"):
            raise _Refused(403, "requests from pages of other sites are refused")
        host = headers.get("host")
        if self._token is None and host is not None and not is_loopback(split_address(f"//{host}").hostname or ""):
            raise _Refused(403, f"expected localhost or 127.0.0.1 as Host, got {host}: other names need token_file=")
        if self._token is not None and path not in OPEN:
            given = headers.get("authorization", "").removeprefix("Bearer ").encode()
            if not secrets.compare_digest(given, self._token.encode()):
                raise _Refused(401, "expected the header Authorization: Bearer <token>")
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise _Refused(400, "expected a number as Content-Length")
        if int(length) > self._body_bytes:
            raise _Refused(413, _too_large(self._body_bytes))


async def _drain(receive: Receive, deadline: float) -> None:
    """Discard the rest of the body: a client reads no answer before it has sent everything."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            while (await receive()).get("more_body", False):
                pass


def is_loopback(host: str) -> bool:
    """Whether an address is loopback.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _too_large(most: int) -> str:
    return f"expected a body of at most {most / 1e6:g} MB: send a smaller photo, or raise max_megabytes"


async def _answer(send: Send, reason: _Refused) -> None:
    body = json.dumps({"detail": reason.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if reason.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": reason.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
