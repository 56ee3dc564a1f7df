"""Master parts: known good and bad parts shown to the camera at the start of a shift; a wrong verdict blocks the line.

While the line is blocked, PASS becomes REVIEW. The block survives a restart and lasts until a person overrides the
master part's row. The state is stored in the log: a master part's row has its kind as the part.
"""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from qc_lightning.inference import log_file
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.log_entry import HELD, Row
from qc_lightning.metrics.verdict import Verdict

Kind = Literal["good", "bad"]
KINDS: tuple[Kind, Kind] = ("good", "bad")


def part_of(kind: Kind) -> str:
    """The part name in a master part's row."""
    return f"master {kind}"


def is_wrong(kind: Kind, verdict: Verdict) -> bool:
    """Whether a verdict on a master part is wrong: a good one must pass, a bad one must not."""
    return (verdict == Verdict.PASS) != (kind == "good")


class Masters:
    """State of the line by its master parts.

    Args:
        log: file of the verdict log.
        hours: hours after which both kinds are due again; None: never.

    Attributes:
        blocked: row of a master part with a wrong verdict that is not overridden; None if there is none.
    """

    def __init__(self, log: Path, hours: float | None) -> None:
        self._log, self._hours = log, hours
        self._lock = threading.Lock()
        self._seen: dict[Kind, datetime] = {}
        self.blocked: int | None = None
        self.look()

    def look(self) -> None:
        """Read the state from the log."""
        with self._lock:
            wrong: list[int] = []
            for kind in KINDS:
                entries = list(log_file.query(self._log, "WHERE part = ? ORDER BY id", part_of(kind)))
                signed = {row.entry.overrides for row in entries}
                inspected = [row for row in entries if row.entry.overrides is None]
                wrong += [row.number for row in inspected if row.number not in signed and _wrong(kind, row)]
                if inspected:
                    self._seen[kind] = datetime.fromisoformat(inspected[-1].entry.time)
            self.blocked = min(wrong, default=None)

    @property
    def trouble(self) -> str:
        """The alarm text; empty if there is no alarm."""
        if self.blocked is not None:
            return (
                f"row {self.blocked}: a master part got a wrong verdict, no part passes until a person signs that row"
            )
        due = [kind for kind in KINDS if self._is_due(kind)]
        return f"not shown for {self._hours:g} hours: {' and '.join(due)}" if due else ""

    def held(self, inspection: Inspection) -> Inspection:
        """The result for the line: PASS becomes REVIEW while the line is blocked."""
        if self.blocked is None or inspection.verdict != Verdict.PASS:
            return inspection
        return replace(inspection, verdict=Verdict.REVIEW, reason=f"{HELD}, row {self.blocked}")

    def _is_due(self, kind: Kind) -> bool:
        if self._hours is None:
            return False
        seen = self._seen.get(kind)
        return seen is None or (datetime.now(UTC) - seen).total_seconds() > 3600 * self._hours


def _wrong(kind: Kind, row: Row) -> bool:
    return is_wrong(kind, Verdict(row.entry.verdict))
