"""Who is best: the points of a sweep in order, and sweep.csv with a row for each job."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qc_lightning.config.checks import check
from qc_lightning.core.atomic import csv_text, write_text
from qc_lightning.metrics.compute import FIGURES
from qc_lightning.sweep.folder import Record, Sweep
from qc_lightning.sweep.points import Job

LOWER_IS_BETTER = ("loss", "escape_rate", "overkill_rate")


@dataclass(frozen=True)
class Point:
    """One choice of values, and how it did over its jobs.

    Attributes:
        values: of each key that is tried.
        jobs: that differ in folds and seeds alone.
        score: mean of the objective over its jobs; None until all of them have finished with a figure.
        spread: standard deviation over its jobs, None for a single one.
    """

    values: Mapping[str, str]
    jobs: Sequence[Job]
    score: float | None
    spread: float | None


def check_objective(objective: str) -> None:
    """Raise UserError unless `objective` is a figure of the validation part."""
    known = [f"val_{name}" for name in FIGURES]
    check(objective in known, "sweep.objective", "one of " + ", ".join(known), objective)


def lower_is_better(objective: str) -> bool:
    """Whether the winner has the lowest figure."""
    return objective.removeprefix("val_") in LOWER_IS_BETTER


def score(record: Record | None, objective: str) -> float | None:
    """The objective of a job; None while it is not there."""
    if record is None or not record.finished:
        return None
    return record.val.get(objective.removeprefix("val_"), {}).get("value")


def ranking(sweep: Sweep, records: Mapping[int, Record]) -> list[Point]:
    """All points, the best first, the earlier one where two are equal, those without a score last."""
    grouped: dict[tuple[tuple[str, str], ...], list[Job]] = {}
    for job in sweep.plan.jobs:
        grouped.setdefault(tuple(job.point.items()), []).append(job)
    points = []
    for values, jobs in grouped.items():
        scores = [score(records.get(job.number), sweep.objective) for job in jobs]
        known = [value for value in scores if value is not None]
        whole = len(known) == len(jobs)
        mean = statistics.fmean(known) if whole else None
        spread = statistics.stdev(known) if whole and len(known) > 1 else None
        points.append(Point(dict(values), jobs, mean, spread))
    sign = 1 if lower_is_better(sweep.objective) else -1
    # figures are float32: in the seventh digit equal ones differ by luck
    return sorted(points, key=lambda point: (point.score is None, round(sign * (point.score or 0.0), 6)))


def write_table(sweep: Sweep, records: Mapping[int, Record], points: Sequence[Point]) -> None:
    """Write sweep.csv: a row for each job, in the order of the ranking."""
    swept = list(dict.fromkeys(key for job in sweep.plan.jobs for key in (*job.point, *job.repeat)))
    figures = [column for name in FIGURES for column in (f"val_{name}", f"val_{name}_low", f"val_{name}_high")]
    header = ["rank", "job", "status", "mean", "spread", *swept, *figures, "seconds", "message", "folder"]
    rows: list[list[object]] = []
    for rank, point in enumerate(points, start=1):
        for job in point.jobs:
            record = records.get(job.number) or Record("not run", 0.0)
            tried = {**job.point, **job.repeat}
            of = [record.val.get(name, {}).get(part) for name in FIGURES for part in ("value", "low", "high")]
            place = None if point.score is None else rank
            values = [tried.get(key) for key in swept]
            ended = [record.seconds, record.message, str(sweep.job(job.number))]
            rows.append([place, job.number, record.status, point.score, point.spread, *values, *of, *ended])
    write_text(sweep.folder / "sweep.csv", csv_text(header, rows))


def in_words(point: Point, objective: str) -> str:
    """The score with its spread and the values, in one line."""
    if point.score is None:
        figure = f"{objective} unknown"
    else:
        figure = f"{objective} {point.score:.4f}" + ("" if point.spread is None else f" +- {point.spread:.4f}")
    return f"{figure}  {' '.join(f'{key}={value}' for key, value in point.values.items())}".rstrip()
