"""Drift detection: compare windows of the line's photos with the reference stored in the model.

Each statistic is compared separately for photos that the model would pass and photos that it would reject: a photo is
represented by the fraction of the reference's photos on its side that are below it. A change of the mix, the fraction
of bad parts, therefore causes no alarm about the camera. Without a change the fractions in a window are uniform, which
the Kolmogorov-Smirnov test checks with a limit that accounts for chance in the reference. The mix is monitored
separately. Needs numpy only.
"""

import base64
import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qc_lightning.inference.measures import PIXEL_STATISTICS, Components, Floats, of_pixels, small_picture

WINDOWS, EVERY = (50, 200), 50  # photos per window, photos between two comparisons
PHOTOS_PER_FALSE_ALARM = 100_000
_BEFORE = 1000  # photos before the last window that its mix is compared with
REMEMBERED = _BEFORE + max(WINDOWS)
"""Number of newest photos that determine a monitor's state."""

MIX = "share rejected"


@dataclass(frozen=True)
class Reference:
    """Reference statistics of the training photos.

    Attributes:
        components: principal components of the network's features, or of small pictures if it has none.
        features: whether the network has features.
        novelty: whether novelty is measured.
        sides: for each statistic in the order of `names`, the sorted values of photos that pass and of those that are
            rejected, and the number of parts of each, 1 or more.
        critical: limit of a window's largest difference, in units of its standard error.
    """

    components: Components
    features: bool
    novelty: bool
    sides: Sequence[tuple[tuple[Floats, int], tuple[Floats, int]]]
    critical: float

    @property
    def names(self) -> list[str]:
        """Names of the statistics, in order."""
        of_network = ["logit", *(["novelty"] if self.novelty else [])]
        return [*PIXEL_STATISTICS, *of_network, *(f"component {k + 1}" for k in range(len(self.components.directions)))]

    def measure(
        self,
        pixels: npt.NDArray[np.uint8],
        logit: float,
        novelty: float | None,
        features: npt.NDArray[np.float32] | None,
    ) -> tuple[float, ...]:
        """Compute the statistics of a photo, in the order of `names`.

        Args:
            pixels: decoded, uint8 [3, H, W].
            logit: the network's output.
            novelty: novelty, if measured.
            features: float32 [F], if the network has features.
        """
        unusual = [novelty] if self.novelty and novelty is not None else []
        seen = small_picture(pixels) if features is None else features
        return (*of_pixels(pixels), logit, *unusual, *self.components.project(seen).tolist())

    def shares(self, measures: Sequence[float], rejected: bool) -> Floats:
        """For each statistic the fractions of that side's photos below its value, and at or below it, [S, 2]."""
        ranks = []
        for value, sides in zip(measures, self.sides, strict=True):
            values = sides[rejected][0]
            ends = (np.searchsorted(values, value, "left"), np.searchsorted(values, value, "right"))
            ranks.append([int(end) / len(values) for end in ends])
        return np.array(ranks)

    def to_json(self) -> str:
        """The JSON text stored in the model."""
        sides = [[[np.round(values, 6).tolist(), parts] for values, parts in two] for two in self.sides]
        stored: dict[str, object] = {
            "format": 1,
            "features": self.features,
            "novelty": self.novelty,
            "critical": self.critical,
        }
        stored |= {"mean": _packed(self.components.mean), "directions": _packed(self.components.directions)}
        stored |= {"count": len(self.components.directions), "sides": sides}
        return json.dumps(stored, allow_nan=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Reference":
        """Read back `to_json`.

        Raises:
            ValueError, KeyError, TypeError: the text has another format.
        """
        stored: Mapping[str, Any] = json.loads(text)
        mean, directions = _unpacked(stored["mean"]), _unpacked(stored["directions"])
        components = Components(mean, directions.reshape(stored["count"], -1))
        sides = [tuple((np.array(values, np.float64), int(parts)) for values, parts in two) for two in stored["sides"]]
        return cls(components, stored["features"], stored["novelty"], [(a, b) for a, b in sides], stored["critical"])


def critical_value(statistics: int) -> float:
    """Critical value at which at most one false alarm is expected in `PHOTOS_PER_FALSE_ALARM` photos.

    The budget is divided evenly: each comparison tests every statistic and the mix in two windows. With s the standard
    error of D, P(D > c s) <= 2 exp(-2 c^2) (Massart 1990; two samples: Wei and Dudley 2012).
    """
    tests = PHOTOS_PER_FALSE_ALARM / EVERY * len(WINDOWS) * (statistics + 1)
    return math.sqrt(math.log(2 * tests) / 2)


class Crossing(NamedTuple):
    """A statistic beyond its limit.

    Attributes:
        name: name of the statistic.
        row: log row of the window's last photo.
        value: largest difference of fractions; for the mix, minus the natural logarithm of its probability.
        limit: limit of the value.
        photos: number of photos in the window.
    """

    name: str
    row: int
    value: float
    limit: float
    photos: int


class DriftMonitor:
    """Monitors the photos of a line one by one.

    Args:
        reference: reference of the model.

    Attributes:
        first: first crossing of each statistic that has ever exceeded its limit.
        largest: for each statistic the comparison closest to its limit, or furthest beyond it.
        photos: number of photos so far.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference, self.photos = reference, 0
        self.first: dict[str, Crossing] = {}
        self.largest: dict[str, Crossing] = {}
        self._shares: deque[Floats] = deque(maxlen=max(WINDOWS))
        self._rejected: deque[bool] = deque(maxlen=REMEMBERED)
        self._now: dict[str, Crossing] = {}
        self._since = 0

    @property
    def crossings(self) -> dict[str, Crossing]:
        """Current crossings; each stays until a number of photos equal to the longest window has shown none."""
        return self._now

    def add(self, row: int, measures: Sequence[float], rejected: bool) -> None:
        """Add a photo.

        Args:
            row: its number in the log.
            measures: result of `Reference.measure`.
            rejected: whether its probability is at least the threshold.
        """
        self._shares.append(self.reference.shares(measures, rejected))
        self._rejected.append(rejected)
        self.photos += 1
        if self.photos % EVERY:
            return
        crossings: dict[str, Crossing] = {}
        for count in WINDOWS:
            if len(self._shares) >= count:
                for one in (*self._differences(row, count), self._mix(row, count)):
                    before = self.largest.setdefault(one.name, one)
                    if one.value / one.limit > before.value / before.limit:
                        self.largest[one.name] = one
                    if one.value > one.limit:
                        crossings.setdefault(one.name, one)
        for name, one in crossings.items():
            self.first.setdefault(name, one)
        self._since = 0 if crossings else self._since + EVERY
        if crossings or self._since >= max(WINDOWS):
            self._now = crossings

    def _differences(self, row: int, count: int) -> list[Crossing]:
        rejected = np.array(self._rejected)[-count:]
        weight = rejected.mean()
        shares = np.sort(np.array(self._shares)[-count:], axis=0)
        below, at_most = shares[..., 0], shares[..., 1]  # these differ where values are equal
        steps = np.arange(count + 1)[:, None] / count
        largest = np.maximum((steps[1:] - at_most).max(0), (below - steps[:-1]).max(0))
        limits = []
        for (_, passing), (_, rejecting) in self.reference.sides:
            chance = 1 / count + (1 - weight) ** 2 / passing + weight**2 / rejecting
            limits.append(self.reference.critical * math.sqrt(chance))
        return [
            Crossing(name, row, float(value), limit, count)
            for name, value, limit in zip(self.reference.names, largest, limits, strict=True)
        ]

    def _mix(self, row: int, count: int) -> Crossing:
        """Compare the fraction rejected in the window with that of the photos before, by Fisher's exact test."""
        limit = 2 * self.reference.critical**2
        before, window = list(self._rejected)[:-count], list(self._rejected)[-count:]
        if len(before) < max(WINDOWS):
            return Crossing(MIX, row, 0.0, limit, count)
        return Crossing(MIX, row, -_fisher(sum(window), count, sum(before), len(before)), limit, count)


def in_words(crossings: Mapping[str, Crossing]) -> dict[str, str]:
    """Describe the changes: under `drift` camera, light or product, under `mix` the fraction rejected."""
    camera = [one for name, one in crossings.items() if name != MIX]
    words = ", ".join(f"{one.name} ({one.value:.2f}, limit {one.limit:.2f})" for one in camera[:4])
    more = f" and {len(camera) - 4} more" if len(camera) > 4 else ""
    sentences = {"drift": f"{words}{more}, up to row {camera[0].row}"} if camera else {}
    if MIX in crossings:
        sentences["mix"] = f"the fraction of rejected parts has changed, up to row {crossings[MIX].row}"
    return sentences


def _fisher(k: int, n: int, other_k: int, other_n: int) -> float:
    """Log of the one-sided probability of a split at least this uneven if both fractions are equal."""

    def log_choose(total: int, taken: int) -> float:
        return math.lgamma(total + 1) - math.lgamma(taken + 1) - math.lgamma(total - taken + 1)

    total, hits = n + other_n, k + other_k
    upward = k * other_n >= other_k * n
    tail = range(k, min(n, hits) + 1) if upward else range(max(0, hits - other_n), k + 1)
    terms = [log_choose(n, i) + log_choose(other_n, hits - i) for i in tail]
    top = max(terms)
    return min(0.0, top + math.log(sum(math.exp(term - top) for term in terms)) - log_choose(total, hits))


def _packed(values: Floats) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)
