"""Progress of a sweep under any launcher, read from the results in its folder."""

import sys
import threading
from types import TracebackType

from qc_lightning.sweep.folder import Record, Sweep
from qc_lightning.sweep.table import in_words, ranking, score

_POLL = 0.3  # seconds between polls


class Progress:
    """Prints a line for each job that ends while the block runs."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._out = sys.stdout  # the terminal; jobs in this process write to their own files
        self._known = sweep.records()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        total = self._sweep.plan.total
        done = f", {len(self._known)} of them already there" if self._known else ""
        print(f"sweep: {total} jobs{done}, best {self._sweep.objective} wins: {self._sweep.folder}", file=self._out)
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(_POLL):
            self._look()

    def _look(self) -> None:
        for job in list(self._sweep.plan.jobs):  # jobs may be added meanwhile
            if job.number in self._known:
                continue
            record = Record.read(self._sweep.job(job.number))
            if record is not None:
                self._known[job.number] = record
                print(self._line(job.number, record, " ".join(job.overrides)), file=self._out, flush=True)

    def _line(self, number: int, record: Record, overrides: str) -> str:
        total = self._sweep.plan.total
        value = score(record, self._sweep.objective)
        figure = "-" if value is None else f"{value:.4f}"
        result = f"{figure} in {record.seconds:.1f} s" if record.finished else f"FAILED: {record.message}"
        best = next((point for point in ranking(self._sweep, self._known) if point.score is not None), None)
        leads = f"   best so far: {in_words(best, self._sweep.objective)}" if best else ""
        return f"[{len(self._known):{len(str(total))}}/{total}] job {number} {overrides}: {result}{leads}"
