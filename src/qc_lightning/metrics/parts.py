"""One verdict for a part shown on several photos: the worst photo decides. Needs the standard library only."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qc_lightning.metrics.verdict import Verdict

_WORST = (Verdict.PASS, Verdict.REVIEW, Verdict.REJECT)


@dataclass(frozen=True, slots=True)
class View:
    """The result of one photo of a part.

    Attributes:
        verdict: on the photo.
        probability: P(Incorrect) in [0, 1]; None if there is none.
        reason: why a person has to look at the photo, in words, or empty.
    """

    verdict: Verdict
    probability: float | None = None
    reason: str = ""

    @property
    def rank(self) -> tuple[int, float]:
        """Larger for a worse photo: by verdict, then by probability; a photo without a probability is the worst."""
        return _WORST.index(self.verdict), math.inf if self.probability is None else self.probability


@dataclass(frozen=True, slots=True)
class PartVerdict:
    """The verdict on a part.

    Attributes:
        part: its name.
        verdict: that of its worst photo; REVIEW instead of PASS while a view is missing.
        worst: name of that photo.
        probability: of that photo.
        photos: of the part.
        missing: number of expected views that are missing.
        reason: why a person has to look at the part, in words, or empty.
    """

    part: str
    verdict: Verdict
    worst: str
    probability: float | None
    photos: int
    missing: int
    reason: str


def part_verdict(part: str, views: Mapping[str, View], expected: int | None = None) -> PartVerdict:
    """The worst photo decides; a part with a missing view never passes.

    Args:
        part: name of the part.
        views: its photos, at least one, by name.
        expected: number of photos that every part must have; None: unknown.

    >>> seen = {"left": View(Verdict.PASS, 0.1), "right": View(Verdict.REJECT, 0.9)}
    >>> part_verdict("7", seen).verdict, part_verdict("7", seen).worst
    (<Verdict.REJECT: 'REJECT'>, 'right')
    >>> part_verdict("8", {"left": View(Verdict.PASS, 0.1)}, expected=2).reason
    '1 of 2 views is missing'
    """
    worst = max(views, key=lambda name: views[name].rank)
    verdict, reason = views[worst].verdict, views[worst].reason
    missing = max(0, (expected or 0) - len(views))
    if missing and verdict == Verdict.PASS:
        verdict = Verdict.REVIEW
        reason = f"{missing} of {expected} views {'is' if missing == 1 else 'are'} missing"
    return PartVerdict(part, verdict, worst, views[worst].probability, len(views), missing, reason)


class PartTracker:
    """Collects the photos of parts as they arrive.

    Args:
        expected: photos of every part; None: not known.
        wait: seconds after its newest photo at which a part gets its verdict without the photos that are missing.
        remembered: how many parts with a verdict are kept, for photos that come late; None: all. Of a part that was
            forgotten a late photo is a new part.
    """

    def __init__(self, expected: int | None = None, wait: float = math.inf, remembered: int | None = None) -> None:
        self._expected, self._wait, self._remembered = expected, wait, remembered
        self._views: dict[str, dict[str, View]] = {}
        self._newest: dict[str, float] = {}  # of parts without a verdict, the longest waiting one first
        self._settled: dict[str, None] = {}  # parts with a verdict, the oldest first

    def add(self, part: str, photo: str, view: View, now: float) -> PartVerdict | None:
        """Add a photo; it replaces an earlier photo of the same name.

        Args:
            part: name of the part.
            photo: name of the photo or the camera.
            view: its result.
            now: seconds on any clock that does not go back.

        Returns:
            The part's verdict once all expected photos are there, also when a part that had one changes.
        """
        views = self._views.setdefault(part, {})
        views[photo] = view
        self._newest.pop(part, None)
        if self._expected is not None and len(views) >= self._expected:
            return self._settle(part)
        self._newest[part] = now
        return None

    def due(self, now: float) -> list[PartVerdict]:
        """Verdicts on the parts that have waited for `wait` seconds."""
        late = []
        for part, newest in self._newest.items():
            if now - newest < self._wait:
                break
            late.append(part)
        for part in late:
            del self._newest[part]
        return [self._settle(part) for part in late]

    def every(self) -> Iterator[PartVerdict]:
        """Verdicts on all remembered parts from their photos so far, in the order of their first photos."""
        return (part_verdict(part, views, self._expected) for part, views in self._views.items())

    @property
    def waiting(self) -> int:
        """Parts without a verdict."""
        return len(self._newest)

    def _settle(self, part: str) -> PartVerdict:
        verdict = part_verdict(part, self._views[part], self._expected)
        self._settled.pop(part, None)
        self._settled[part] = None
        if self._remembered is not None and len(self._settled) > self._remembered:
            oldest = next(iter(self._settled))
            del self._settled[oldest]
            if oldest not in self._newest:
                del self._views[oldest]
        return verdict
