"""The connection to a Ray cluster, and its nodes."""

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from qc_lightning.core.errors import UserError
from qc_lightning.core.ray_environment import has_token, prepare_ray

_SECONDS = 5.0  # to wait for a head that does not answer
_LOCAL_STORE = 500 << 20  # bytes of shared memory of a cluster of our own: paths and rows pass through it, not photos


def check_address(address: str) -> None:
    """Set the variables that Ray reads on import, and check that something answers at an address `<head>:<port>`.

    Ray itself would try for two minutes.

    Raises:
        UserError: nothing answers.
    """
    prepare_ray()
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"ray.address: expected a Ray cluster at {address}, none answers there ({reason})") from error


def connect(address: str) -> None:
    """Connect this process to the cluster at an address, once.

    Raises:
        UserError: Ray is not installed, there is no cluster at the address, or it wants another token.
    """
    check_address(address)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UserError(f'engine=ray needs Ray ({error.name}): pip install "qc-lightning[ray]"') from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():  # by whoever calls from Python
        return
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _LOCAL_STORE}
    with _said() as said:
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **(own if address == "local" else {}),
            )
            return
        except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            problem = error
    if "token" in f"{said[0]} {problem}":
        what = "another one" if has_token() else "none here"
        raise UserError(
            f"ray.address={address}: the cluster asks for a token, there is {what}: copy the head's ~/.ray/auth_token "
            "to this machine or its text into RAY_AUTH_TOKEN; `ray get-auth-token` on the head shows it"
        ) from problem
    if address == "auto":
        raise UserError(
            "ray.address=auto: no Ray cluster runs on this machine: start one with `ray start --head`, give "
            "ray.address=<head>:6379, or ray.address=local for one of its own"
        ) from problem
    raise UserError(f"ray.address={address}: {reason_of(problem)}") from problem


@contextmanager
def _said() -> Iterator[list[str]]:
    """Capture what Ray's libraries write to standard error in the block; available after the block."""
    said: list[str] = []
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield said
            finally:
                sys.stderr.flush()
                os.dup2(before, 2)
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
    finally:
        os.close(before)


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster that are alive, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def reason_of(error: BaseException) -> str:
    """The last line of an error that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    with suppress(IndexError):
        return lines[-1][:300]
    return type(error).__name__
