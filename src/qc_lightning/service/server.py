"""The server of the application: socket, signals, shutdown."""

import errno
import signal
import socket
import ssl
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from qc_lightning.config.serving import ServeConfig
from qc_lightning.core.errors import UserError

_LAST_SECONDS = 4  # seconds for requests in flight after SIGTERM


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket that no other process listens on.

    Raises:
        UserError: the port is in use, or the address does not belong to this machine.
    """
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm where it recognises TCP; with it each answer is 40 ms late
    bound = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()  # early connections wait until the server runs
    except OSError as error:
        bound.close()
        which = "host" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else "port"
        raise UserError(f"port={port}: cannot listen on {host} ({error.strerror}): give another {which}=") from error
    return bound


def tls_of(config: ServeConfig) -> tuple[Path, Path] | None:
    """The certificate and its key, PEM files; None for plain HTTP.

    Raises:
        UserError: they do not belong together, cannot be read, or the key needs a password.
    """
    if config.tls_cert is None or config.tls_key is None:
        return None
    certificate, key = Path(config.tls_cert).expanduser(), Path(config.tls_key).expanduser()
    try:
        # with a password, since OpenSSL would ask for a missing one at the console and wait
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or error
        raise UserError(f"tls_cert, tls_key: cannot use them ({reason}): give PEM files without password") from error
    return certificate, key


def run(app: ASGIApp, bound: socket.socket, tls: tuple[Path, Path] | None) -> None:
    """Serve until Ctrl-C or SIGTERM; requests in flight are answered first.

    Args:
        app: the application.
        bound: the socket to listen on.
        tls: certificate and key, result of `tls_of`; None for plain HTTP.
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
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    uvicorn.Server(config).run(sockets=[bound])
