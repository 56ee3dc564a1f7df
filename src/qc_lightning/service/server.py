"""The server of the application: socket, signals, shutdown."""

import signal
import socket
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from qc_lightning.core.errors import UserError

_LAST_SECONDS = 4  # seconds for requests in flight after SIGTERM


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket that no other process listens on.

    Raises:
        UserError: the port is in use, or the address does not belong to this machine.
    """
    try:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio disables Nagle's algorithm where it recognises TCP; with it each answer is 40 ms late
        bound = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()  # early connections wait until the server runs
    except OSError as error:
        raise UserError(f"port={port}: cannot listen on {host} ({error.strerror}): give another port=") from error
    return bound


def run(app: ASGIApp, bound: socket.socket, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve until Ctrl-C or SIGTERM; requests in flight are answered first.

    Args:
        app: the application.
        bound: the socket to listen on.
        tls_cert: certificate, PEM; None for plain HTTP.
        tls_key: its key, PEM.

    Raises:
        UserError: certificate and key do not belong together or cannot be read.
    """
    # uvicorn raises the signal again after shutdown; the stop was requested, so it is not a failure
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise UserError(f"tls_cert, tls_key: cannot use them ({error.strerror or error}): give PEM files") from error
    uvicorn.Server(config).run(sockets=[bound])
