"""Coordinates for the charts of a sweep's page, which the template draws."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from qc_lightning.sweep.table import Point

_LISTED = 8  # most values shown at equal distances; more are placed by size
_LOG_FROM = 30.0  # ratio of largest to smallest from which a scale is logarithmic


@dataclass(frozen=True)
class Axis:
    """The axis of a key or of the objective.

    Attributes:
        name: name of the key.
        listed: whether its values are categories at equal distances instead of numbers on a scale.
        ticks: position in [0, 1] and text of each label.
        log: whether the scale is logarithmic.
        low: smallest value of a scale.
        high: largest value of a scale.
    """

    name: str
    listed: bool
    ticks: list[tuple[float, str]]
    log: bool = False
    low: float = 0.0
    high: float = 1.0

    def at(self, value: str) -> float:
        """Position of a value in [0, 1]."""
        if self.listed:
            return next(position for position, text in self.ticks if text == value)
        number, low, high = (math.log(x) if self.log else x for x in (float(value), self.low, self.high))
        return (number - low) / (high - low) if high > low else 0.5


def score_axis(points: Sequence[Point], objective: str) -> Axis:
    """The scale of the objective, over points that all have a score: never logarithmic."""
    values = [point.score for point in points if point.score is not None]
    low, high = min(values), max(values)
    ticks = [(i / 4, f"{low + (high - low) * i / 4:.3f}") for i in range(5 if high > low else 1)]
    return Axis(objective, False, ticks, False, low, high)


def axis(name: str, values: Sequence[str]) -> Axis:
    """The axis for all values that a key has.

    >>> axis("trainer.max_epochs", ["20", "5", "20"]).ticks
    [(0.0, '5'), (1.0, '20')]
    >>> axis("optim.lr", [str(10**-power) for power in range(20)]).log
    True
    """
    numbers = [_number(value) for value in values]
    distinct = sorted(set(values), key=lambda value: (_number(value) is None, _number(value) or 0.0, value))
    numeric = [number for number in numbers if number is not None]
    if len(distinct) <= _LISTED or len(numeric) < len(values):
        step = 1 / (len(distinct) - 1) if len(distinct) > 1 else 0.0
        return Axis(name, True, [(i * step if step else 0.5, value) for i, value in enumerate(distinct)])
    low, high = min(numeric), max(numeric)
    log = low > 0 and high / low >= _LOG_FROM
    between = [low * (high / low) ** (i / 4) if log else low + (high - low) * i / 4 for i in range(5)]
    return Axis(name, False, [(i / 4, f"{tick:.3g}") for i, tick in enumerate(between)], log, low, high)


@dataclass(frozen=True)
class Effect:
    """The effect of a key on the objective.

    Attributes:
        axis: its values.
        dots: positions of the value and of the objective, for each point.
        means: the same for the mean over the points with one value; empty on a scale.
        summary: the means in words.
    """

    axis: Axis
    dots: list[tuple[float, float]]
    means: list[tuple[float, float]]
    summary: str


def effects(points: Sequence[Point], objective: Axis) -> list[Effect]:
    """The effect of each key with several values, sorted by the spread of the means."""
    scored = [point for point in points if point.score is not None]
    ranked = []
    for name in _keys(scored):
        by = axis(name, [point.values[name] for point in scored])
        dots = [(by.at(point.values[name]), objective.at(repr(point.score))) for point in scored]
        mean = {
            text: statistics.fmean(point.score or 0.0 for point in scored if point.values[name] == text)
            for _, text in (by.ticks if by.listed else [])
        }
        means = [(by.at(text), objective.at(repr(value))) for text, value in mean.items()]
        summary = ", ".join(f"{text}: {value:.4f}" for text, value in mean.items())
        reach = max(mean.values()) - min(mean.values()) if mean else math.inf
        text = f"mean by value: {summary}" if summary else "each dot is one point"
        ranked.append((-reach, Effect(by, dots, means, text)))
    return [effect for _, effect in sorted(ranked, key=lambda pair: pair[0])]


def coordinates(points: Sequence[Point], objective: Axis) -> tuple[list[Axis], list[list[float]]]:
    """Parallel coordinates: axes of the keys and the objective, and each point's positions, the worst first."""
    scored = [point for point in points if point.score is not None]
    axes = [axis(name, [point.values[name] for point in scored]) for name in _keys(scored)]
    lines = [[*(by.at(point.values[by.name]) for by in axes), objective.at(repr(point.score))] for point in scored]
    return [*axes, objective], lines[::-1]


def _keys(points: Sequence[Point]) -> list[str]:
    """Keys with more than one value."""
    names = points[0].values if points else {}
    return [name for name in names if len({point.values[name] for point in points}) > 1]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
