"""Turn probabilities into verdicts: the only place that decides what the line does with a part. Needs numpy only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeGuard

import numpy as np
import numpy.typing as npt

from qc_lightning.core.errors import UserError
from qc_lightning.metrics.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from torch import Tensor


def probabilities(logit: "Tensor") -> npt.NDArray[np.float64]:
    """P(Incorrect), float64 [B] in [0, 1]: the sigmoid of float32 logits [B] on the CPU, taken in double precision."""
    return sigmoid(logit.double().numpy())


def sigmoid(logit: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """P(Incorrect), float64 [B] in [0, 1], of logits [B].

    In numpy: torch computes the last few of a batch in another way than the others, and the last bit differs.
    """
    with np.errstate(over="ignore"):  # exp of a very low logit's opposite is infinite, and the quotient 0
        probability: npt.NDArray[np.float64] = 1 / (1 + np.exp(-logit.astype(np.float64)))
    return probability


def short(value: float) -> str:
    """A number with three digits that count, without an exponent: 25,400 and not 2.54e+04."""
    return f"{float(f'{value:.3g}'):,.12g}"


@dataclass(frozen=True)
class Decision:
    """The rule that turns a probability into a verdict, and its origin; stored with the weights.

    Attributes:
        threshold: in [0, 1]; without a review band a part is rejected when its probability is at least this.
        source: the rule and the photos that gave it, in plain words.
        review: (low, high) with low <= threshold <= high: below `low` a part passes, from `high` on it is rejected, and
            a person looks at parts in between. None: no band.
        novelty: the limit, 0 or above; a person looks at a part with a higher novelty, whatever its probability. None:
            no limit.

    Raises:
        UserError: the threshold is not in [0, 1], the band does not contain it, or the limit is negative.
    """

    threshold: float
    source: str
    review: tuple[float, float] | None = None
    novelty: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and 0.0 <= self.threshold <= 1.0):
            raise UserError(f"Expected a threshold between 0 and 1, got {self.threshold}: set one in that range")
        low, high = self.review or (self.threshold, self.threshold)
        if not 0.0 <= low <= self.threshold <= high <= 1.0:
            raise UserError(f"Expected a review band around the threshold {self.threshold}, got {low} to {high}")
        if self.novelty is not None and not 0.0 <= self.novelty < math.inf:
            raise UserError(f"Expected a limit of novelty of 0 or above, got {self.novelty}")

    def verdicts(self, probability: npt.ArrayLike, novelty: npt.ArrayLike | None = None) -> Verdicts:
        """Return the verdict of each photo; the only function that does.

        A probability that is not a number is rejected, since nothing shows that the part is good.

        Args:
            probability: float [...], P(Incorrect). Compared in double precision, so that a score read back from a file
                and the threshold taken from it agree.
            novelty: float [...], novelty of each photo; NaN is above every limit. None: not measured, no photo is above
                the limit.

        Returns:
            Values of `Verdict`, str [...].
        """
        p = np.asarray(probability, dtype=np.float64)
        low, high = self.review or (self.threshold, self.threshold)
        verdicts = np.where(p < low, Verdict.PASS, np.where(p < high, Verdict.REVIEW, Verdict.REJECT))
        if self.novelty is not None and novelty is not None:
            familiar = np.asarray(novelty, dtype=np.float64) <= self.novelty
            verdicts = np.where(familiar, verdicts, Verdict.REVIEW)
        return verdicts

    def reason(self, probability: float, novelty: float | None = None) -> str:
        """Why a person has to look at a photo, in words; empty if nobody has to.

        Args:
            probability: P(Incorrect).
            novelty: novelty of the photo; None: not measured.
        """
        if self.novelty is not None and novelty is not None and not novelty <= self.novelty:
            return f"unlike the training photos: novelty {short(novelty)}, the limit is {short(self.novelty)}"
        if self.review is not None and self.review[0] <= probability < self.review[1]:
            return f"cannot tell: {probability:.3f} lies between {self.review[0]:.3f} and {self.review[1]:.3f}"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """The entry in decision.json; review band, limit of novelty and certificate may be null."""
        review = None if self.review is None else list(self.review)
        return {
            "threshold": self.threshold,
            "source": self.source,
            "review": review,
            "novelty": self.novelty,
            "certificate": None,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Read back `to_dict`.

        Raises:
            UserError: the threshold is missing, or a value is invalid.
        """
        threshold, review, novelty = (stored.get(key) for key in ("threshold", "review", "novelty"))
        if not _is_number(threshold):
            raise UserError(f'Expected a number as "threshold" in decision.json, got {threshold!r}: restore the file')
        if review is not None and not (isinstance(review, list) and len(review) == 2 and all(map(_is_number, review))):
            raise UserError(f'Expected two numbers or null as "review" in decision.json, got {review!r}')
        if novelty is not None and not _is_number(novelty):
            raise UserError(f'Expected a number or null as "novelty" in decision.json, got {novelty!r}')
        band = None if review is None else (float(review[0]), float(review[1]))
        limit = None if novelty is None else float(novelty)
        return cls(float(threshold), str(stored.get("source", "")), band, limit)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
