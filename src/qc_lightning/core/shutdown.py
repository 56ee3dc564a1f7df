"""Treat Ctrl-C and SIGTERM as requests to stop, not as crashes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(Exception):
    """The user asked to stop, and all processes of a training have agreed on the step."""


class StopRequest:
    """Whether the user has asked to stop.

    Attributes:
        signal: number of the received signal, 0 for none.
    """

    signal: int = 0


@contextmanager
def graceful_shutdown() -> Iterator[StopRequest]:
    """Record the first Ctrl-C or SIGTERM instead of ending; a second one acts as usual."""
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


@contextmanager
def remembered_interrupt(stop: StopRequest) -> Iterator[None]:
    """Record Ctrl-C in `stop`; it raises KeyboardInterrupt as usual, but a library may swallow that."""
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGINT, note if callable(before) else before)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
