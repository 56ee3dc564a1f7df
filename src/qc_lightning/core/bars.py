"""Progress: a bar on a terminal, an occasional line in a log file."""

import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    _Bar = tqdm[Any]
else:
    _Bar = tqdm

_FIRST, _SECONDS = 5.0, 30.0  # before the first line, and between two lines


class Progress(_Bar):
    """tqdm that writes a line after five seconds and then every half minute if standard error is not a terminal.

    Args:
        arguments: of tqdm.
        options: of tqdm.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._lines = not sys.stderr.isatty()
        if self._lines:
            options |= {"mininterval": _FIRST, "miniters": 1, "ascii": True, "position": None}
        self._due = 0.0  # time of the next line
        super().__init__(*arguments, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or write a line."""
        if not self._lines:
            super().display(msg, pos)
        elif self.n > self.initial and time.monotonic() >= self._due:
            print(self, file=self.fp, flush=True)
            self._due = time.monotonic() + _SECONDS

    def close(self) -> None:
        """Keep the bar on screen; write a last line if one was shown or there was no delay."""
        if not self._lines:
            super().close()
        elif not self.disable:
            self.disable = True
            if self.last_print_t >= self.start_t + (self.delay or 0):
                self._due = 0.0
                self.display()
