"""Monitor whether the line keeps the certified escape rate, by parts picked at random and checked by people.

Labels of parts that people choose to check do not estimate a rate: reviewed parts are the difficult ones, and an
unnoticed escape has no label. So parts are picked by the digest of their photo, which is independent of the verdict,
and only these spot checks count: the estimate is the fraction passed of the picked parts that a person calls bad.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from qc_lightning.inference import log_file
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.log_entry import SPOT_CHECK, Row
from qc_lightning.inference.log_queries import judged
from qc_lightning.metrics import anytime
from qc_lightning.metrics.verdict import Verdict


def pick(inspection: Inspection, one_in: int | None) -> Inspection:
    """Return the inspection, marked as a spot check if its photo is picked.

    Args:
        inspection: result of a photo.
        one_in: one photo in this many is picked; None: none.
    """
    if one_in is None or not inspection.sha256 or inspection.error or int(inspection.sha256[:12], 16) % one_in:
        return inspection
    return replace(inspection, reason=f"{inspection.reason}; {SPOT_CHECK}" if inspection.reason else SPOT_CHECK)


class Claim(NamedTuple):
    """The certified claim: at most `rate` of the Incorrect parts pass, at `confidence`."""

    rate: float
    confidence: float

    @classmethod
    def from_decision(cls, decision: Mapping[str, Any]) -> "Claim | None":
        """The claim of a decision record; None if it has no valid one."""
        claims = (decision.get("certificate") or {}).get("claims") or []
        limits = [one for one in claims if one.get("kind") == "escape" and one.get("threshold") is not None]
        return cls(float(limits[0]["rate"]), float(limits[0]["confidence"])) if limits else None


class EscapeMonitor:
    """Counts the spot checks that people call bad, and how many of them passed.

    Args:
        claim: claim of the certificate; None if there is none.

    Attributes:
        claim: as given.
        crossed: row of the first judgement that showed the rate to exceed the certified one; None before that. It stays
            set, since the bound holds simultaneously at all times.
    """

    def __init__(self, claim: Claim | None) -> None:
        self.claim = claim
        self.crossed: int | None = None
        self._passed: dict[str, bool] = {}

    @property
    def bad(self) -> int:
        """Number of spot checks that people call bad."""
        return len(self._passed)

    @property
    def escapes(self) -> int:
        """Number of these that passed."""
        return sum(self._passed.values())

    def add(self, inspected: Row, said: Row, stopped: bool) -> None:
        """Add a person's verdict on a part; the newest one on a part counts.

        Args:
            inspected: the row of the picked photo; rows of other photos are ignored.
            said: row of the person's verdict.
            stopped: whether another view of the part kept it from passing.
        """
        if not inspected.entry.reason.endswith(SPOT_CHECK):
            return
        part = inspected.entry.part or f"row {inspected.number}"
        if said.entry.verdict == Verdict.REJECT:
            self._passed[part] = inspected.entry.verdict == Verdict.PASS and not stopped
        else:
            self._passed.pop(part, None)
        if self.claim and self.crossed is None and anytime.exceeds(self.escapes, self.bad, *self.claim):
            self.crossed = said.number

    @property
    def trouble(self) -> str:
        """Why the certificate is void, in words; empty while it is valid."""
        if self.claim is None or self.crossed is None:
            return ""
        low = anytime.lower_bound(self.escapes, self.bad, self.claim.confidence)
        return (
            f"{self.escapes} of {self.bad} bad parts of spot checks passed, at least {low:.2%} of all bad parts; "
            f"certified are at most {self.claim.rate:.2%} (row {self.crossed})"
        )

    def __str__(self) -> str:
        """Summary for a person."""
        if not self.bad:
            return "escapes: no part of a spot check was called bad yet (serve spot_check=50)"
        confidence = self.claim.confidence if self.claim else 0.95
        counts = self.escapes, self.bad, confidence
        low, high = anytime.lower_bound(*counts), anytime.upper_bound(*counts)
        rate = f"{low:.2%} to {high:.2%}, each bound at confidence {confidence:.4g}, at every moment"
        certified = f"; certified are at most {self.claim.rate:.2%}" if self.claim else ""
        return f"escapes: {self.escapes} of {self.bad} bad parts of spot checks passed: {rate}{certified}"


def replayed(log: Path, model: str, decision: Mapping[str, Any]) -> EscapeMonitor:
    """Return a monitor that has seen all overrides of the rows of a model and decision.

    Args:
        log: file of the log.
        model: digest of the model's record.
        decision: decision record of the model.
    """
    monitor = EscapeMonitor(Claim.from_decision(decision))
    for inspected, said in judged(log):
        if inspected.entry.model == model:
            monitor.add(inspected, said, stopped_elsewhere(log, inspected))
    return monitor


def stopped_elsewhere(log: Path, row: Row) -> bool:
    """Whether the log has a photo of the same part from another camera that did not pass."""
    entry = row.entry
    if not entry.part:
        return False
    where = "WHERE part = ? AND model = ? AND source != ? AND overrides IS NULL"
    views = log_file.query(log, where, entry.part, entry.model, entry.source)
    return any(view.entry.verdict != Verdict.PASS for view in views)
