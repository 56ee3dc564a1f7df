"""The gate: an exported inspector must give the run's own photos the same verdicts as the run's network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qc_lightning.core.errors import UserError
from qc_lightning.inference.golden import TOLERANCE
from qc_lightning.inference.inspection import Inspection
from qc_lightning.metrics.decision import Decision


@dataclass(frozen=True)
class GateResult:
    """Result of a passed gate.

    Attributes:
        photos: number of photos.
        gap: largest difference of a logit.
        margin: smallest distance of a photo's logit to a limit of the decision; infinite if there is no limit.
        closest: the photo at that distance.
        certificate: one line on the run's certificate; empty if it has none.
    """

    photos: int
    gap: float
    margin: float
    closest: str
    certificate: str = ""

    def __str__(self) -> str:
        """One line for a person."""
        near = f"; the closest to a limit is {self.closest}, {self.margin:.2g} away" if self.closest else ""
        return f"{self.photos} photos keep their verdicts, logits differ by at most {self.gap:.2g}{near}"


def pass_gate(before: Sequence[Inspection], after: Sequence[Inspection], decision: Decision) -> GateResult:
    """Compare the run's network and its export on the same photos.

    Args:
        before: results of the run's network; every photo is readable.
        after: results of the export, in the same order.
        decision: decision of both.

    Raises:
        UserError: a verdict differs, or a logit by more than the tolerance.
    """
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old.verdict != new.verdict]
    if changed:
        old, new = changed[0]
        raise UserError(
            f"not exported: expected every verdict as the run gives it, got {len(changed)} of {len(before)} others, "
            f"such as {old.path}: {old.verdict} at {old.probability}, exported {new.verdict} at {new.probability}"
        )
    logit = np.array([_number(old.logit) for old in before])
    gap = np.abs(logit - np.array([_number(new.logit) for new in after]))
    worst = int(np.argmax(np.where(np.isfinite(gap), gap, np.inf)))
    if not gap[worst] <= TOLERANCE:
        raise UserError(
            f"not exported: expected logits within {TOLERANCE:g} of the run's, got {gap[worst]:.2g} "
            f"on {before[worst].path}"
        )
    distance = np.full(len(logit), np.inf)  # remains infinite if a logit can reach no limit of the decision
    for limit in limits(decision):
        distance = np.minimum(distance, np.abs(logit - limit))
    place = int(np.argmin(distance))
    closest = str(before[place].path) if math.isfinite(distance[place]) else ""
    return GateResult(len(before), float(gap[worst]), float(distance[place]), closest)


def limits(decision: Decision) -> list[float]:
    """The logits at which the decision's verdict changes; none for a probability of 0 or 1, which no logit reaches."""
    edges = decision.review or (decision.threshold,)
    return [math.log(p / (1 - p)) for p in edges if 0 < p < 1]


def _number(logit: float | None) -> float:
    return math.nan if logit is None else logit
