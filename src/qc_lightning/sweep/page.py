"""sweep.html: ranking, effect of each value, and the winner's command, in one file without external resources."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from qc_lightning.core.atomic import replacing
from qc_lightning.metrics.compute import FIGURES
from qc_lightning.report.environment import environment, style
from qc_lightning.sweep.charts import coordinates, effects, score_axis
from qc_lightning.sweep.folder import Record, Sweep
from qc_lightning.sweep.table import Point, lower_is_better, over_folds

_MOST_ROWS = 200


def write_page(sweep: Sweep, records: Mapping[int, Record], points: Sequence[Point], command: str | None) -> Path:
    """Write sweep.html into the sweep's folder.

    Args:
        sweep: the sweep.
        records: results of its jobs.
        points: its points in ranking order.
        command: command that trains the winner; None without a winner.

    Returns:
        The path of the page.
    """
    scored = [point for point in points if point.score is not None]
    objective = score_axis(scored, sweep.objective) if scored else None
    axes, lines = coordinates(points, objective) if objective else ([], [])
    figure = sweep.objective.removeprefix("val_")
    page = (
        environment(Path(__file__).parent)
        .get_template("sweep.html.jinja")
        .render(
            style=style(),
            name="/".join(sweep.folder.resolve().parts[-2:]),
            figure=f"validation {FIGURES[figure]}",
            figure_key=figure,
            lower=lower_is_better(sweep.objective),
            points=points[:_MOST_ROWS],
            folds=over_folds(sweep, points[0], records) if points else [],
            scored=len(scored),
            total=len(points),
            repeats=max((len(point.jobs) for point in points), default=1),
            records=records,
            jobs=len(sweep.plan.jobs),
            failed=[(job, records[job.number]) for job in sweep.plan.jobs if _failed(records.get(job.number))],
            keys=list(dict.fromkeys(key for point in points for key in point.values)),
            effects=effects(points, objective) if objective else [],
            axes=axes,
            lines=lines,
            longest=max((len(label) for axis in axes for _, label in axis.ticks), default=0),
            command=command,
            unseen=not any((sweep.job(job.number) / "predictions.csv").is_file() for job in sweep.plan.jobs),
            begun=shlex.join(["python", "-m", "qc_lightning.train", "-m", *sweep.command]),
            seconds=sum(record.seconds for record in records.values()),
            reports={job.number for job in sweep.plan.jobs if (sweep.job(job.number) / "report.html").is_file()},
            again=(sweep.winner / "report.html").is_file(),
        )
    )
    target = sweep.folder / "sweep.html"
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    return target


def _failed(record: Record | None) -> bool:
    return record is not None and not record.finished
