"""Ctrl-C and SIGTERM as a wish to end, not as an accident."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(Exception):
    """The user has asked to end, and all processes of a training have agreed on where."""


class StopRequest:
    """Whether the user has asked to end.

    Attributes:
        signal: number of the signal that asked, 0 when none did.
    """

    signal: int = 0


@contextmanager
def graceful_shutdown() -> Iterator[StopRequest]:
    """Note the first Ctrl-C or SIGTERM instead of dying of it; a second one acts as usual."""
    stop = StopRequest()
    before: dict[int, Any] = {}  # handlers

    def note(number: int, _: FrameType | None) -> None:
        stop.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
