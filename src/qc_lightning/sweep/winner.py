"""The winner of a sweep: its command, its report, and its training on train and val combined."""

import re
import shlex
import statistics
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from qc_lightning.config import TrainConfig, parse
from qc_lightning.config.record import RunRecord
from qc_lightning.core.atomic import read_json
from qc_lightning.core.errors import reading
from qc_lightning.core.run import Run
from qc_lightning.sweep.folder import Record, Sweep, without
from qc_lightning.sweep.page import write_page
from qc_lightning.sweep.table import Point, folds_in_words, in_words, over_folds, ranking, write_table

_SHOWN = 10  # points
_PLAIN = re.compile(r"^([\w.]+=)'([\w.-]*/[\w./-]*)'$")  # a path: other texts, such as true or 1e3, need their quotes


def winner(points: Sequence[Point]) -> Point | None:
    """The best point; None if no point has a score."""
    return points[0] if points and points[0].score is not None else None


def arguments(sweep: Sweep, best: Point) -> list[str]:
    """Arguments that train, test and report the winner outside of the sweep."""
    return [
        *without(sweep.plan.fixed, "sweep", "score_test", "report"),
        *(f"{key}={value}" for key, value in best.values.items()),
    ]


def train_command(sweep: Sweep, best: Point) -> str:
    """The command to copy, without quotes that only Hydra needs."""
    plain = [_PLAIN.sub(r"\1\2", argument) for argument in arguments(sweep, best)]
    return shlex.join(["python", "-m", "qc_lightning.train", *plain])


def retrained(sweep: Sweep, loader: ConfigLoader, config: DictConfig) -> list[str] | None:
    """Arguments that train the winner on train and val combined; None if that run exists or there is no winner.

    The number of epochs and the threshold are those of the winner's jobs (the median of several), since no validation
    part is left to choose them. A network with a cross-validated head chooses them again.
    """
    records = sweep.records()
    best = winner(ranking(sweep, records))
    earlier = Record.read(sweep.winner)
    if best is None or (earlier is not None and earlier.finished):
        return None
    again = [*without(arguments(sweep, best), "data.split.val"), "data.split.val=0"]
    cfg = loader.load_sweep_config(config, again)
    if not parse(cfg, TrainConfig).model.cross_validated:
        finished = [records[job.number] for job in best.jobs]
        epochs = round(statistics.median(record.epochs or cfg.trainer.max_epochs for record in finished))
        fixed = [f"trainer.max_epochs={epochs}", "optim.patience=null"]
        again = [*without(again, "trainer.max_epochs", "optim.patience"), *fixed]
        if cfg.decision.rule != "fixed":
            threshold = statistics.median(record.threshold or 0.5 for record in finished)
            again += ["decision.rule=fixed", f"decision.threshold={threshold!r}"]
    return again


@reading("what the sweep's folder holds", "restore it, or run the sweep again")
def announce(sweep: Sweep, report: bool) -> None:
    """Write sweep.csv and sweep.html, and print the winner.

    Args:
        sweep: a sweep without running jobs.
        report: whether to write the winner's report, if the jobs wrote none.

    Raises:
        UserError: a file in its folder was edited.
    """
    records = sweep.records()
    points = ranking(sweep, records)
    write_table(sweep, records, points)
    best = winner(points)
    if best is not None and report and len(best.jobs) == 1:
        _report(Run(sweep.job(best.jobs[0].number)))
    page = write_page(sweep, records, points, None if best is None else train_command(sweep, best))
    print()
    for rank, point in enumerate(points[:_SHOWN], start=1):
        if point.score is not None:
            print(f"{rank:3}. {in_words(point, sweep.objective)}")
    if best is not None:
        print("\n".join(folds_in_words(over_folds(sweep, best, records), len(best.jobs))))
    failed = [number for number, record in records.items() if not record.finished]
    for number in failed[:_SHOWN]:
        print(f"WARNING: job {number} failed: {records[number].message}")
    if len(failed) > _SHOWN:
        print(f"WARNING: {len(failed) - _SHOWN} more jobs failed: see sweep.csv")
    if best is None and len(failed) < len(records):
        print(f"WARNING: no winner: no job has a {sweep.objective}: it needs a validation part (data.split.val=0.15)")
    if best is not None:
        print(f"winner: {train_command(sweep, best)}")
    again = Record.read(sweep.winner)
    if again is not None:
        result = "tested: see report.html in" if again.finished else f"FAILED ({again.message}):"
        print(f"winner trained on train and val, {result} {sweep.winner}")
    print(f"sweep: {page}")


def _report(run: Run) -> None:
    """Write the missing report of a job from its folder, without training or testing."""
    from qc_lightning.data.dataset import load_photos
    from qc_lightning.report.page import write_report
    from qc_lightning.training.figures import draw

    if (run.folder / "report.html").is_file():
        return
    config = RunRecord.read(run).training
    draw(run, config, load_photos(config.data, False, config.model.solved), read_json(run.metrics))
    write_report(run.folder)
