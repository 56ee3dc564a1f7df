"""From a probability to a verdict: the one place that decides what the line does with a part. Light: numpy only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from qc_lightning.core.errors import UserError

PASS = "PASS"
REJECT = "REJECT"


@dataclass(frozen=True)
class Decision:
    """A threshold on P(Incorrect) and where it came from; travels with the weights as decision.json.

    Attributes:
        threshold: in [0, 1]; a part is rejected when its probability is at least this.
        source: in plain words, the rule and the photos that gave it.

    Raises:
        UserError: the threshold is no number in [0, 1].
    """

    threshold: float
    source: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and 0.0 <= self.threshold <= 1.0):
            raise UserError(f"Expected a threshold between 0 and 1, got {self.threshold}: set one in that range")

    def rejects(self, probability: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which parts are rejected; a probability that is not a number is, since nothing vouches for that part.

        Args:
            probability: float [...], P(Incorrect). Compared in double precision, so that a score read back from a file
                and the threshold taken from it agree.

        Returns:
            bool [...].
        """
        return np.logical_not(np.asarray(probability, dtype=np.float64) < self.threshold)

    def verdicts(self, probability: npt.ArrayLike) -> npt.NDArray[np.str_]:
        """Return PASS or REJECT for each probability, str [...]."""
        return np.where(self.rejects(probability), REJECT, PASS)

    def to_dict(self) -> dict[str, Any]:
        """What decision.json holds; review band and certificate are null until a run has them."""
        return {"threshold": self.threshold, "source": self.source, "review": None, "certificate": None}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Read back `to_dict`.

        Raises:
            UserError: the threshold is missing or unfit, or a review band is there, which must not be ignored.
        """
        threshold = stored.get("threshold")
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise UserError(f'Expected a number as "threshold" in decision.json, got {threshold!r}: restore the file')
        if stored.get("review") is not None:
            raise UserError(
                'Expected "review": null in decision.json, got a review band: use the newer release that wrote it'
            )
        return cls(float(threshold), str(stored.get("source", "")))


def choose_threshold(probability: npt.ArrayLike, label: npt.ArrayLike, rule: str, fixed: float = 0.5) -> Decision:
    """Set the threshold from validation photos; never call this with test photos.

    "fixed" takes `fixed`. "balanced" takes the threshold with the best balanced accuracy; of equally good ones the
    middle of the widest gap between two neighbouring scores, so that it sits on no photo. Where validation cannot tell
    (no photos, one class only, no threshold better than chance) `fixed` is used and `source` says why.

    Args:
        probability: float [n], P(Incorrect) of validation photos; n may be 0.
        label: int [n], 1 = Incorrect.
        rule: "fixed" or "balanced".
        fixed: in [0, 1].

    Raises:
        UserError: the rule is unknown or `fixed` is out of range.
    """
    if rule == "fixed":
        return Decision(fixed, "fixed: set by hand, not fitted to photos")
    if rule != "balanced":
        raise UserError(f"Expected the threshold rule fixed or balanced, got {rule!r}: choose one of the two")
    scores, positive = np.asarray(probability, dtype=np.float64), np.asarray(label) == 1
    n, incorrect = len(scores), int(positive.sum())
    if n == 0:
        return Decision(fixed, "fixed: no validation photos to choose it on")
    if incorrect in (0, n):
        only = "Incorrect" if incorrect else "Correct"
        return Decision(fixed, f"fixed: all {n} validation photos are {only}, so there is nothing to tell apart")
    if not np.isfinite(scores).all():
        return Decision(fixed, "fixed: some validation photos have no finite probability")

    # cut i rejects distinct score i and all above it; cut 0 would reject everything, so it is no candidate
    distinct, place = np.unique(scores, return_inverse=True)
    escapes = np.cumsum(np.bincount(place, weights=positive))[:-1]
    passed_correct = np.cumsum(np.bincount(place, weights=~positive))[:-1]
    # twice n1 * n0 * balanced accuracy, in whole numbers: a tie is a tie, whatever the rounding
    merit = (incorrect - escapes) * (n - incorrect) + passed_correct * incorrect
    if len(merit) == 0 or merit.max() <= incorrect * (n - incorrect):
        return Decision(fixed, f"fixed: no threshold beats chance on the {n} validation photos")
    below, above = distinct[:-1], distinct[1:]
    widest = int(np.argmax(np.where(merit == merit.max(), above - below, -1.0)))
    middle = (below[widest] + above[widest]) / 2
    threshold = middle if middle > below[widest] else above[widest]
    reached = merit[widest] / (2 * incorrect * (n - incorrect))
    photos = f"{n} validation photos ({incorrect} Incorrect)"
    return Decision(float(threshold), f"balanced: best balanced accuracy, {reached:.1%}, on {photos}")
