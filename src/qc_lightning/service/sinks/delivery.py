"""Deliver log rows to one receiver in order and at least once; the log is the queue, so memory does not grow."""

import contextlib
import threading
from collections.abc import Sequence
from typing import Protocol

from qc_lightning.core.atomic import replacing
from qc_lightning.inference.log_entry import Row
from qc_lightning.inference.log_queries import newest_number, rows_after
from qc_lightning.inference.verdict_log import VerdictLog

_MOST_AT_A_TIME = 100
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds between retries
_LAST_SECONDS = 1.0  # seconds for a last delivery when the service ends


class SinkError(Exception):
    """The receiver is unreachable or refuses the rows; they are retried."""


class Sink(Protocol):
    """A receiver of rows.

    Attributes:
        name: name of its kind, one word.
        target: description of the receiver, without secrets.
        beat: seconds after which it must be called even without rows; None for never.
    """

    name: str
    target: str
    beat: float | None

    def deliver(self, entries: Sequence[Row]) -> None:
        """Deliver the rows; return once the receiver has confirmed them.

        Raises:
            SinkError, OSError: some rows are not confirmed; all are sent again.
        """
        ...

    def close(self) -> None:
        """Release the receiver."""
        ...


class Delivery:
    """A thread that delivers to one sink.

    Its position is stored in a file next to the log, by kind and receiver; a new receiver gets only later rows. An
    unreachable receiver is retried after 0.5 s; the delay doubles up to 30 s.

    Args:
        sink: the receiver.
        log: the source of the rows.

    Attributes:
        trouble: why the last delivery failed; empty if it did not.
    """

    def __init__(self, sink: Sink, log: VerdictLog) -> None:
        self.trouble, self.sink = "", sink
        self._log = log
        self._position = log.path.with_name(f"{log.path.stem}_sinks") / sink.name
        self._stop = threading.Event()
        self._row = self._read()
        self._thread = threading.Thread(target=self._run, name=sink.name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Try the waiting rows once more, then end; the rest is delivered after the next start."""
        self._stop.set()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        pause, ended = _FIRST_PAUSE, False
        while not ended:
            ended = self._stop.is_set()
            try:
                entries = rows_after(self._log.path, self._row, _MOST_AT_A_TIME)
                if entries or self.sink.beat is not None:
                    self.sink.deliver(entries)
                self.trouble, pause = "", _FIRST_PAUSE
            except Exception as error:  # any error of a library: a dead thread would go unnoticed
                self.trouble = f"{self.sink.target} ({' '.join(str(error).split())[:200]})"
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            if entries:
                self._row = entries[-1].number
                self._write()
                ended = ended and len(entries) < _MOST_AT_A_TIME
            elif not ended:
                self._log.wait_beyond(self._row, min(1.0, self.sink.beat or 1.0))
        self.sink.close()

    def _read(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            row, target = self._position.read_text(encoding="utf-8").split(" ", 1)
            if target == self.sink.target:
                return int(row)
        row_now = newest_number(self._log.path)
        self._row = row_now
        self._write()
        return row_now

    def _write(self) -> None:
        try:
            with replacing(self._position, durable=False) as temporary:
                temporary.write_text(f"{self._row} {self.sink.target}", encoding="utf-8")
        except OSError as error:  # the rows have arrived; after a restart some are sent again
            self.trouble = f"{self._position} cannot be written ({error.strerror})"
