"""Run a sweep: plan, launch, watch, rank."""

import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from qc_lightning.config import SweepConfig, TrainConfig, parse
from qc_lightning.config.effect import without_effect
from qc_lightning.config.literal import escaped, quoted
from qc_lightning.core.claim import claim_sweep
from qc_lightning.core.errors import UserError
from qc_lightning.core.shutdown import StopRequest, remembered_interrupt
from qc_lightning.core.system import cores
from qc_lightning.data.cluster.ray_connection import check_address
from qc_lightning.sweep import tpe
from qc_lightning.sweep.folder import Record, Sweep, clear, without
from qc_lightning.sweep.job import SweepJob
from qc_lightning.sweep.points import Job, Space, plan, space
from qc_lightning.sweep.progress import Progress
from qc_lightning.sweep.table import check_objective, lower_is_better, ranking
from qc_lightning.sweep.winner import announce, retrained

Describe = Callable[[BaseException], str]
"""An error as one line."""

QUIET = ("report=false", "trainer.enable_progress_bar=false")
"""Settings of a job unless the command line overrides them: no report and no progress bar for each job."""


def run_sweep(
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    arguments: list[str],
    describe: Describe,
) -> dict[int, Record]:
    """Run all unfinished jobs of the sweep, write sweep.csv and sweep.html, and print the winner.

    Args:
        context: Hydra's context.
        task: the training.
        config: settings common to all jobs, including `config.hydra`.
        arguments: arguments of the command line, without those of Hydra itself.
        describe: formats an error as one line.

    Returns:
        The results of the jobs, by number.

    Raises:
        UserError: the sweep cannot start or continue, or every job failed.
        SystemExit: 130 after Ctrl-C; 3 when some jobs failed.
    """
    for name in ("hydra", "hydra_plugins"):  # the progress already prints each job
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = parse(config.sweep, SweepConfig)
    check_objective(settings.objective)
    if "ray" in config.hydra.launcher:
        check_address(str(config.hydra.launcher.ray.init.address))
    sweep = _begin(config, settings, arguments, context.config_loader)
    stop = StopRequest()
    launcher = Plugins.instance().instantiate_launcher(context, SweepJob(task, describe, stop), config)
    records = sweep.records()
    left = [job for job in sweep.plan.jobs if job.number not in records or not records[job.number].finished]
    for job in left:
        if job.number in records:  # failed: try again
            clear(sweep.job(job.number))
    try:
        with remembered_interrupt(stop), Progress(sweep):
            _launch(launcher, sweep, left, describe)
            while more := _proposed(sweep, settings, config, context.config_loader):
                _launch(launcher, sweep, more, describe)
        if settings.retrain and (again := retrained(sweep, context.config_loader, config)):
            _call(launcher, [(sweep.winner, again)], describe)
    except KeyboardInterrupt:
        command = shlex.join(["python", "-m", "qc_lightning.train", *without(sys.argv[1:], "sweep.resume")])
        print(f"\nstopped; continue with: {command} sweep.resume={shlex.quote(str(sweep.folder))}")
        raise SystemExit(130) from None
    announce(sweep, report=not any(argument.startswith("report=") for argument in arguments))
    records = sweep.records()
    failed = [record for record in records.values() if not record.finished]
    if failed and len(failed) == len(records):
        many = f"all {len(failed)} jobs failed; the first: " if len(failed) > 1 else ""
        raise UserError(f"{many}{failed[0].message}")
    if failed:
        raise SystemExit(3)
    return records


def _begin(config: DictConfig, settings: SweepConfig, arguments: Sequence[str], loader: ConfigLoader) -> Sweep:
    """Plan the sweep and write the plan, or find the sweep to continue."""
    command = without(arguments, "sweep.resume", "sweep.retrain")
    if settings.sampler == "tpe":
        tpe.check_installed()
    laid_out = plan(command, settings, loader)
    if settings.resume is not None:
        sweep = Sweep.open(settings.resume, "sweep.resume")
        begun = replace(sweep.plan, jobs=sweep.plan.jobs if settings.sampler != "tpe" else [])
        if (sweep.command, begun) != (command, laid_out):
            raise UserError(
                f"sweep.resume: {sweep.folder} was begun with {shlex.join(sweep.command) or 'no arguments'}: "
                "give the same command"
            )
    else:
        sweep = Sweep(Path(str(config.hydra.sweep.dir)), command, settings.objective, laid_out)
    with read_write(config), open_dict(config):
        config.hydra.sweep.dir = escaped(str(sweep.folder.resolve()))
    jobs = laid_out.jobs or _ends(space(command, settings, loader))
    _check_values(config, laid_out.fixed, jobs, loader)
    if settings.resume is None:
        named = any(str(override).startswith("hydra.sweep.dir=") for override in config.hydra.overrides.hydra)
        sweep = replace(sweep, folder=claim_sweep(sweep.folder, named))
        with read_write(config):
            config.hydra.sweep.dir = escaped(str(sweep.folder.resolve()))
    sweep.write()
    return sweep


def _check_values(config: DictConfig, fixed: Sequence[str], jobs: Sequence[Job], loader: ConfigLoader) -> None:
    """Find a mistake in any value, and settings without effect in any job, before work starts."""
    seen: set[str] = set()
    active: set[str] = set()
    reasons: dict[str, str] = {}
    for job in jobs:
        if set(job.overrides) - seen or not seen:
            seen |= {"", *job.overrides}
            cfg = loader.load_sweep_config(config, [*fixed, *job.overrides])
            job_config = parse(cfg, TrainConfig)
            idle = without_effect(job_config, job.point) if len(job.point) else {}
            active = active | (set(job.point) - set(idle))
            reasons |= idle
    if useless := {key: why for key, why in reasons.items() if key not in active}:
        raise UserError(
            f"nothing to try in {', '.join(useless)}: {next(iter(useless.values()))}; give each one value, "
            "or choose another model="
        )


def _ends(asked: Space) -> list[Job]:
    """One job for each listed value and for both ends of each interval."""
    points = [
        {key: text}
        for key, values in asked.swept.items()
        for text in values.listed or (values.written(values.start), values.written(values.end))
    ]
    return asked.jobs(points)


def _proposed(sweep: Sweep, settings: SweepConfig, config: DictConfig, loader: ConfigLoader) -> list[Job]:
    """The next jobs of an adaptive search, recorded before they start; none at its end."""
    count = len(sweep.plan.jobs)
    if count >= sweep.plan.total:
        return []
    asked = space(sweep.command, settings, loader)
    # parallel jobs do not learn from each other, so there are at least five rounds
    at_once = min(_side_by_side(config), max(1, settings.trials // 5), (sweep.plan.total - count) // len(asked.repeats))
    by_number = sorted(ranking(sweep, sweep.records()), key=lambda point: point.jobs[0].number)
    tried = [(point.values, point.score) for point in by_number]
    points = tpe.propose(asked.swept, tried, lower_is_better(settings.objective), at_once, settings.seed)
    more = asked.jobs(points, count)
    sweep.plan.jobs.extend(more)
    sweep.write()
    return more


def _side_by_side(config: DictConfig) -> int:
    """Number of jobs that the launcher runs at a time."""
    launcher = config.hydra.launcher
    if "ray" in launcher:
        return sys.maxsize  # as many as fit on the cluster
    limit = launcher.get("n_jobs") or launcher.get("array_parallelism") or 1
    return cores() if limit < 0 else int(limit)


def _launch(launcher: Launcher, sweep: Sweep, jobs: Sequence[Job], describe: Describe) -> None:
    """Run the jobs; if their processes die (for example, out of memory), find out which job was the cause.

    Raises:
        UserError: the launcher itself failed.
    """
    if not jobs:
        return
    before = {job.number: _begun(sweep.job(job.number)) for job in jobs}
    try:
        calls = [(sweep.job(job.number), [*QUIET, *sweep.plan.fixed, *job.overrides]) for job in jobs]
        _call(launcher, calls, describe)
    except Exception as error:
        lost = [job for job in jobs if Record.read(sweep.job(job.number)) is None]
        begun = [job for job in lost if _begun(sweep.job(job.number)) != before[job.number]]
        if len(jobs) == 1 and lost:
            folder = sweep.job(jobs[0].number)
            folder.mkdir(exist_ok=True)
            Record("failed", 0.0, f"its process died, perhaps out of memory: {describe(error)}").write(folder)
            return
        if len(lost) == len(jobs) and not begun:
            raise UserError(f"hydra.launcher: no job could be started: {describe(error)}") from error
        for job in begun:  # one of them killed the others
            _launch(launcher, sweep, [job], describe)
        _launch(launcher, sweep, [job for job in lost if job not in begun], describe)


def _begun(folder: Path) -> int:
    """A value that changes with each start of the job."""
    output = folder / "output.txt"
    return output.stat().st_mtime_ns if output.is_file() else 0


def _call(launcher: Launcher, calls: Sequence[tuple[Path, list[str]]], describe: Describe) -> None:
    """Run a job with the launcher for each folder and its arguments."""
    overrides = [
        [*arguments, f"hydra.sweep.dir={quoted(str(folder.parent.resolve()))}", f"hydra.sweep.subdir={folder.name}"]
        for folder, arguments in calls
    ]
    if type(launcher).__name__ == "BasicLauncher":  # it keeps every job's composed settings, a megabyte each
        for arguments in overrides:
            launcher.launch([arguments], initial_job_idx=0)
        return  # each ran in this process and wrote its record
    returned: list[Any] = list(launcher.launch(overrides, initial_job_idx=0))
    for (folder, _), back in zip(calls, returned, strict=True):
        if Record.read(folder) is None and isinstance(back, JobReturn):  # it ran where this folder is not visible
            folder.mkdir(exist_ok=True)
            if back.status == JobStatus.COMPLETED:
                back.return_value.write(folder)
            else:
                Record("failed", 0.0, describe(back._return_value)).write(folder)
