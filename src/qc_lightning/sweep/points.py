"""Turn the command line and a preset into the jobs of a sweep."""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from qc_lightning.config import SweepConfig
from qc_lightning.core.errors import UserError

REPEATS = ("data.split.fold", "data.split.seed", "seed")
"""Keys of random variation, not of choice: jobs that differ only in these are one point, ranked by its mean."""


@dataclass(frozen=True)
class Job:
    """One training of a sweep.

    Attributes:
        number: from 0; also the name of its folder.
        point: value of each swept key, as on the command line.
        repeat: value of each swept key of `REPEATS`.
    """

    number: int
    point: Mapping[str, str]
    repeat: Mapping[str, str]

    @property
    def overrides(self) -> list[str]:
        """The settings of this job, as arguments."""
        return [f"{key}={value}" for key, value in (*self.point.items(), *self.repeat.items())]


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep.

    Attributes:
        fixed: arguments that all jobs have in common.
        jobs: in the order of their numbers; an adaptive search adds jobs as it runs.
        total: final number of jobs.
    """

    fixed: list[str]
    jobs: list[Job]
    total: int


@dataclass(frozen=True)
class Space:
    """The search space of a sweep.

    Attributes:
        fixed: arguments that all jobs have in common.
        swept: possible values of each key.
        repeats: values of the keys of `REPEATS`, for each point.
    """

    fixed: list[str]
    swept: Mapping[str, "Values"]
    repeats: list[dict[str, str]]

    def jobs(self, points: Sequence[Mapping[str, str]], first: int = 0) -> list[Job]:
        """The jobs of some points, numbered from `first`."""
        pairs = itertools.product(points, self.repeats)
        return [Job(number, point, repeat) for number, (point, repeat) in enumerate(pairs, first)]


def space(arguments: Sequence[str], sweep: SweepConfig, loader: ConfigLoader | None = None) -> Space:
    """Read the search space; arguments and errors as for `plan`."""
    random.seed(sweep.seed)  # Hydra's shuffle() uses it
    parser = OverridesParser.create(config_loader=loader)
    given = parser.parse_overrides(list(arguments))
    keys = {override.get_key_element() for override in given}
    preset = parser.parse_overrides([f"{key}={value}" for key, value in sweep.params.items() if key not in keys])
    swept = {
        override.get_key_element(): Values.from_override(override)
        for override in preset + given
        if override.is_sweep_override()
    }
    if own := [key for key in swept if key.split(".")[0].split("/")[0] in ("sweep", "hydra", "resume")]:
        raise UserError(f"{own[0]}: expected one value, got several: it says how to sweep")
    fixed = [str(override.input_line) for override in preset + given if not override.is_sweep_override()]
    repeats = {key: swept.pop(key) for key in list(swept) if key in REPEATS}
    return Space(fixed, swept, _grid(repeats))


def plan(arguments: Sequence[str], sweep: SweepConfig, loader: ConfigLoader | None = None) -> Plan:
    """Plan the jobs.

    Args:
        arguments: arguments of the command line; a key there overrides the same key of `sweep.params`.
        sweep: the preset.
        loader: Hydra's config loader, for `glob(*)` over the options of a group.

    Raises:
        UserError: there is nothing to sweep, a range is invalid, or a grid is requested over an interval.
    """
    asked = space(arguments, sweep, loader)
    if sweep.sampler == "tpe" and asked.swept:
        return Plan(asked.fixed, [], sweep.trials * len(asked.repeats))
    points = _grid(asked.swept) if sweep.sampler == "grid" or not asked.swept else _drawn(asked.swept, sweep)
    jobs = asked.jobs(points)
    return Plan(asked.fixed, jobs, len(jobs))


@dataclass(frozen=True)
class Values:
    """The values of one key: a list, or numbers from `start` to below `end`."""

    key: str
    listed: tuple[str, ...] = ()
    start: float = 0.0
    end: float = 0.0
    log: bool = False

    @classmethod
    def from_override(cls, override: Override) -> "Values":
        """Read the values of a key from the command line."""
        key, value = override.get_key_element(), override.value()
        if not isinstance(value, IntervalSweep):
            return cls(key, tuple(override.sweep_string_iterator()))
        start, end, log = value.start, value.end, "log" in value.tags
        if start is None or end is None or not start < end or not math.isfinite(end - start) or (log and start <= 0):
            above = " above 0" if log else ""
            raise UserError(f"{key}: expected an interval(from, to) of rising numbers{above}, got {start} to {end}")
        return cls(key, start=start, end=end, log=log)

    def draw(self, dice: random.Random) -> str:
        """Draw a value from the list, or a number from the interval."""
        if self.listed:
            return dice.choice(self.listed)
        start, end = (math.log(self.start), math.log(self.end)) if self.log else (self.start, self.end)
        value = dice.uniform(start, end)
        return self.written(math.exp(value) if self.log else value)

    def written(self, value: float) -> str:
        """Format a number for the command line, keeping it in the interval."""
        if isinstance(self.start, int):
            return str(min(max(math.floor(value), self.start), int(self.end) - 1))
        # four digits are enough for a search; rounding must not leave the interval
        return repr(min(max(float(f"{value:.4g}"), self.start), math.nextafter(self.end, self.start)))


def _grid(swept: Mapping[str, Values]) -> list[dict[str, str]]:
    for values in swept.values():
        if not values.listed:
            raise UserError(
                f"{values.key}: expected a list of values for a grid, got an interval: use sweep=random, or list them"
            )
    return [
        dict(zip(swept, point, strict=True))
        for point in itertools.product(*(values.listed for values in swept.values()))
    ]


def _drawn(swept: Mapping[str, Values], sweep: SweepConfig) -> list[dict[str, str]]:
    """Draw each value from its own generator, so that another trial or key does not change existing ones."""
    return [
        {key: values.draw(random.Random(f"{sweep.seed}/{trial}/{key}")) for key, values in swept.items()}
        for trial in range(sweep.trials)
    ]
