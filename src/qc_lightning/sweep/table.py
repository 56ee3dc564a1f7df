"""Rank the points of a sweep, and write sweep.csv with one row per job."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qc_lightning.config.checks import check
from qc_lightning.core.atomic import write_text
from qc_lightning.core.csv_files import csv_text
from qc_lightning.metrics.compute import FIGURES
from qc_lightning.metrics.folds import FoldFigure, nadeau_bengio
from qc_lightning.sweep.folder import Record, Sweep
from qc_lightning.sweep.points import Job

_FOLD, _FOLDS = "data.split.fold", 5  # the setting, and the number of folds unless data.split.folds is set
LOWER_IS_BETTER = ("loss", "escape_rate", "overkill_rate")


@dataclass(frozen=True)
class Point:
    """One combination of values with the results of its jobs.

    Attributes:
        values: value of each swept key.
        jobs: jobs that differ only in folds and seeds.
        score: mean of the objective over its jobs; None until all of them have a value.
        spread: standard deviation over its jobs, None for a single one.
    """

    values: Mapping[str, str]
    jobs: Sequence[Job]
    score: float | None
    spread: float | None


def check_objective(objective: str) -> None:
    """Raise UserError unless `objective` is a validation metric."""
    names = [f"val_{name}" for name in FIGURES]
    check(objective in names, "sweep.objective", "one of " + ", ".join(names), objective)


def lower_is_better(objective: str) -> bool:
    """Whether lower values of the objective are better."""
    return objective.removeprefix("val_") in LOWER_IS_BETTER


def score(record: Record | None, objective: str) -> float | None:
    """The objective of a job; None if it is missing."""
    if record is None or not record.finished:
        return None
    return record.val.get(objective.removeprefix("val_"), {}).get("value")


def ranking(sweep: Sweep, records: Mapping[int, Record]) -> list[Point]:
    """All points, the best first; ties keep their order, points without a score are last."""
    grouped: dict[tuple[tuple[str, str], ...], list[Job]] = {}
    for job in sweep.plan.jobs:
        grouped.setdefault(tuple(job.point.items()), []).append(job)
    points = []
    for values, jobs in grouped.items():
        measured = [score(records.get(job.number), sweep.objective) for job in jobs]
        scores = [value for value in measured if value is not None]
        complete = len(scores) == len(jobs)
        mean = statistics.fmean(scores) if complete else None
        spread = statistics.stdev(scores) if complete and len(scores) > 1 else None
        points.append(Point(dict(values), jobs, mean, spread))
    sign = 1 if lower_is_better(sweep.objective) else -1
    # metrics are float32: equal values may differ in the seventh digit
    return sorted(points, key=lambda point: (point.score is None, round(sign * (point.score or 0.0), 6)))


def write_table(sweep: Sweep, records: Mapping[int, Record], points: Sequence[Point]) -> None:
    """Write sweep.csv: one row per job, in ranking order."""
    swept = list(dict.fromkeys(key for job in sweep.plan.jobs for key in (*job.point, *job.repeat)))
    columns = [column for name in FIGURES for column in (f"val_{name}", f"val_{name}_low", f"val_{name}_high")]
    header = ["rank", "job", "status", "mean", "spread", *swept, *columns, "seconds", "message", "folder"]
    lines: list[list[object]] = []
    for rank, point in enumerate(points, start=1):
        for job in point.jobs:
            record = records.get(job.number) or Record("not run", 0.0)
            tried = {**job.point, **job.repeat}
            measured = [record.val.get(name, {}).get(part) for name in FIGURES for part in ("value", "low", "high")]
            place = None if point.score is None else rank
            values = [tried.get(key) for key in swept]
            ended = [record.seconds, record.message, str(sweep.job(job.number))]
            lines.append([place, job.number, record.status, point.score, point.spread, *values, *measured, *ended])
    write_text(sweep.folder / "sweep.csv", csv_text(header, lines))


class OverFolds(NamedTuple):
    """A metric of a point whose jobs are folds.

    Attributes:
        words: its name.
        folds: mean over the folds, with an interval that accounts for their overlap.
        single: value, low and high of the first fold alone, as a single split would give them.
    """

    words: str
    folds: FoldFigure
    single: Mapping[str, float | None]


def over_folds(sweep: Sweep, point: Point, records: Mapping[int, Record]) -> list[OverFolds]:
    """The metrics of a point over its folds; empty if its jobs are not folds or not all have finished."""
    done = [records[job.number] for job in point.jobs if job.number in records and records[job.number].finished]
    if len(done) < 2 or len(done) < len(point.jobs) or any(set(job.repeat) != {_FOLD} for job in point.jobs):
        return []
    words = [*sweep.plan.fixed, *(word for job in point.jobs for word in job.overrides)]
    given = [int(word.partition("=")[2]) for word in words if word.startswith(f"{_FOLD}s=")]
    held_out = 1 / ((given[-1] if given else _FOLDS) - 1)
    summaries = []
    for name, meaning in FIGURES.items():
        values = [value for record in done if (value := record.val.get(name, {}).get("value")) is not None]
        if len(values) == len(done):
            mean, low, high = nadeau_bengio(values, held_out)
            most = math.inf if name == "loss" else 1.0
            summaries.append(OverFolds(meaning, FoldFigure(mean, max(0.0, low), min(most, high)), done[0].val[name]))
    return summaries


def folds_in_words(summaries: Sequence[OverFolds], folds: int) -> list[str]:
    """Console table: each metric over the folds and on the first fold alone."""
    if not summaries:
        return []
    lines = [("", f"mean of {folds} folds (95%, Nadeau & Bengio)", "first fold alone (95%)")]
    for figure in summaries:
        mean, low, high = figure.folds
        single = [value for key in ("value", "low", "high") if (value := figure.single.get(key)) is not None]
        alone = "{:.3f} ({:.3f} to {:.3f})".format(*single) if len(single) == 3 else "-"
        lines.append((figure.words, f"{mean:.3f} ({low:.3f} to {high:.3f})", alone))
    return [f"{name:18} {over:44} {alone}".rstrip() for name, over, alone in lines]


def in_words(point: Point, objective: str) -> str:
    """The score with its spread and the values, in one line."""
    if point.score is None:
        figure = f"{objective} unknown"
    else:
        figure = f"{objective} {point.score:.4f}" + ("" if point.spread is None else f" +- {point.spread:.4f}")
    return f"{figure}  {' '.join(f'{key}={value}' for key, value in point.values.items())}".rstrip()
