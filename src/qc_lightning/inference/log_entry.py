"""One row of the verdict log: an inspection of a photo, or a person's override of one."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from qc_lightning.inference.inspection import Inspection
from qc_lightning.metrics.verdict import Verdict

SPOT_CHECK = "spot check"
"""End of the reason in a row whose part was picked at random as a spot check."""


HELD = "the line is blocked by a master part"
"""Start of the reason in a row whose PASS became REVIEW because a master part blocks the line."""


class Entry(NamedTuple):
    """A logged inspection, or an override: a person's verdict on the inspection in another row.

    Attributes:
        time: UTC, ISO 8601 with milliseconds.
        part: number of the part; empty if unknown. For a photo from a folder, its name there.
        source: camera or folder; empty if unknown.
        sha256: of the photo's bytes, hex; empty if there are none.
        model_id: id of the model.
        model: digest of the model's record, see `log_file.register`; empty if it has none.
        decision: digest of the decision record; empty if it has none.
        threshold: threshold of the decision.
        probability: P(Incorrect); None if there is none.
        logit: the network's output; None if there is none.
        novelty: novelty of the photo; None if it is not measured.
        verdict: PASS, REVIEW or REJECT; of an override PASS or REJECT.
        reason: why a person has to look; of an override the person's reason.
        error: why there is no probability.
        milliseconds: from the photo's arrival to its verdict.
        measures: drift statistics, separated by spaces; empty if none are measured.
        overrides: number of the row that a person overrides; None for an inspection.
        who: the person's name; empty for an inspection.
    """

    time: str
    part: str
    source: str
    sha256: str
    model_id: str
    model: str
    decision: str
    threshold: float
    probability: float | None
    logit: float | None
    novelty: float | None
    verdict: str
    reason: str
    error: str
    milliseconds: float
    measures: str = ""
    overrides: int | None = None
    who: str = ""

    @property
    def by_model(self) -> str:
        """The verdict that the model and its decision gave, whatever else kept the part from passing."""
        return Verdict.PASS if self.reason.startswith(HELD) else self.verdict

    @classmethod
    def inspected(
        cls, inspection: Inspection, part: str, source: str, model: str, decision: str, milliseconds: float
    ) -> "Entry":
        """The entry of an inspection made now.

        Args:
            inspection: its result.
            part: number of the part; empty if unknown.
            source: camera or folder; empty if unknown.
            model: digest of the model's record in the log.
            decision: digest of the decision in force.
            milliseconds: from the photo's arrival, or the trigger, to its verdict.
        """
        probability, logit, novelty = map(_finite, (inspection.probability, inspection.logit, inspection.novelty))
        return cls(_now(), part, source, inspection.sha256, inspection.model_id, model, decision, inspection.threshold,
                   probability, logit, novelty, inspection.verdict.value, inspection.reason, inspection.error,
                   milliseconds, " ".join(f"{number:.6g}" for number in inspection.measures))  # fmt: skip

    def override(self, number: int, verdict: Verdict, who: str, reason: str) -> "Entry":
        """The entry of a person's verdict, given now, on this inspection.

        Args:
            number: number of this inspection's row.
            verdict: PASS or REJECT.
            who: the person's name.
            reason: in the person's words.
        """
        return self._replace(time=_now(), verdict=verdict.value, reason=reason, error="", milliseconds=0.0,
                             measures="", overrides=number, who=who)  # fmt: skip


class Row(NamedTuple):
    """An entry with its row number and digest.

    Attributes:
        number: number of the row, from 1.
        entry: the entry.
        digest: SHA-256 over the row and the digest of the row before, hex.
    """

    number: int
    entry: Entry
    digest: str


HEADER: Sequence[str] = ("id", *Entry._fields, "digest")
"""Names of a row's fields in a table."""

_NUMBERS = dict.fromkeys(("threshold", "probability", "logit", "novelty", "milliseconds"), float)
COLUMNS: Mapping[str, type] = dict.fromkeys(HEADER, str) | _NUMBERS | {"id": int, "overrides": int}
"""Types of these fields; a missing value is None."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _finite(number: float | None) -> float | None:
    return number if number is None or math.isfinite(number) else None
