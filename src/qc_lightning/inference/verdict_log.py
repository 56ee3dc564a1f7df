"""A log open for writing: waiting rows are committed together, and each writer learns when its row is on disk."""

import queue
import sqlite3
import threading
from concurrent.futures import Future
from pathlib import Path

from qc_lightning.core.errors import UserError
from qc_lightning.inference import log_file
from qc_lightning.inference.log_entry import Entry

_MOST_AT_A_TIME = 64  # rows of one commit


class VerdictLog:
    """A log open for writing; one thread commits the waiting rows together.

    Args:
        path: path of the file, created if missing.

    Attributes:
        path: as given.
        trouble: why the last rows could not be written; empty if they could.

    Raises:
        UserError: the file is not a log, is of another release, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.trouble = path, ""
        log_file.prepare(path)
        self._waiting: queue.SimpleQueue[tuple[Entry, Future[int]] | None] = queue.SimpleQueue()
        self._written = threading.Condition()
        self._last = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def submit(self, entry: Entry) -> "Future[int]":
        """Append an entry; the future's result is its row number, once it is on disk.

        The future raises UserError when it cannot be written.
        """
        done: Future[int] = Future()
        self._waiting.put((entry, done))
        return done

    def wait_beyond(self, number: int, seconds: float) -> None:
        """Wait until this log has written a row beyond a number, or until a timeout."""
        with self._written:
            self._written.wait_for(lambda: self._last > number, seconds)

    def close(self) -> None:
        """Write the waiting rows, then end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended, connection = False, None
        while not ended:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_AT_A_TIME and not self._waiting.empty():
                batch.append(self._waiting.get())
            ended = None in batch
            items = [item for item in batch if item is not None]
            if not items:
                continue
            try:
                connection = connection or log_file.connect(self.path)
                first = log_file.append(connection, [entry for entry, _ in items])
                self.trouble = ""
            except (sqlite3.Error, OSError) as error:
                if connection:  # closing rolls the transaction back
                    connection.close()
                connection = None
                self.trouble = f"log {self.path} cannot be written ({error})"
                for _, done in items:
                    done.set_exception(UserError(self.trouble))
                continue
            for number, (_, done) in enumerate(items, first):
                done.set_result(number)
            with self._written:
                self._last = first + len(items) - 1
                self._written.notify_all()
        if connection:
            connection.close()
