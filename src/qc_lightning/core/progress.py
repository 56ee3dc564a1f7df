"""A progress count on standard error without a library: where an export serves there is no tqdm, see `bars`."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_DELAY = 2.0  # seconds before the first count
_INTERVAL, _LOG_INTERVAL = 0.5, 30.0  # on a terminal, where counts overwrite each other, and in a log


def with_count(items: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """Yield the items and show a count once this takes longer than two seconds.

    Args:
        items: any values.
        total: number of items.
        unit: their name, in the plural.
    """
    due, shown = time.monotonic() + _DELAY, False
    terminal = sys.stderr.isatty()
    start, end, interval = ("\r", "", _INTERVAL) if terminal else ("", "\n", _LOG_INTERVAL)
    for number, item in enumerate(items, 1):
        yield item
        if time.monotonic() >= due:
            print(f"{start}{number}/{total} {unit}", end=end, file=sys.stderr, flush=True)
            due, shown = time.monotonic() + interval, True
    if shown:
        print(f"{start}{total}/{total} {unit}", file=sys.stderr)
