"""The jobs of a sweep, its winner and its page, without any training."""

import itertools
import json
import math
import re
import shlex
import signal
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from qc_lightning.cli.errors import one_line
from qc_lightning.config import SweepConfig
from qc_lightning.config.literal import quoted
from qc_lightning.core.errors import UserError
from qc_lightning.core.shutdown import StopRequest, remembered_interrupt
from qc_lightning.data.photo import Photo
from qc_lightning.data.split import split
from qc_lightning.sweep import gpus, job
from qc_lightning.sweep.folder import Record, Sweep, without
from qc_lightning.sweep.page import write_page
from qc_lightning.sweep.points import Job, Plan, plan
from qc_lightning.sweep.run_sweep import _launch
from qc_lightning.sweep.table import ranking
from qc_lightning.sweep.winner import train_command
from settings import split_settings

LOG = "tag(log,interval(1e-5,1e-2))"


def preset(sampler: str = "grid", trials: int = 5, seed: int = 0, **params: str) -> SweepConfig:
    dotted = {key.replace("__", "."): value for key, value in params.items()}
    return SweepConfig(
        sampler=sampler, params=dotted, trials=trials, seed=seed, objective="val_auroc", retrain=False, resume=None
    )


def sweep_of(folder: Path, jobs: Sequence[Job], objective: str = "val_auroc") -> Sweep:
    return Sweep(folder, [], objective, Plan([], list(jobs), len(jobs)))


def finished(value: float | None, name: str = "auroc") -> Record:
    return Record("finished", 1.0, val={name: {"value": value, "low": None, "high": None}}, threshold=0.5, epochs=3)


def test_a_grid_is_every_combination() -> None:
    jobs = plan(["optim.lr=1e-3,1e-4", "data.batch_size=16,32,64", "seed=3"], preset()).jobs
    expected = itertools.product(("0.001", "0.0001"), ("16", "32", "64"))
    assert [tuple(job.point.values()) for job in jobs] == list(expected)
    assert [job.number for job in jobs] == list(range(6))


def test_the_command_line_replaces_the_presets_values() -> None:
    laid_out = plan(["optim.lr=1e-2", "model.dropout=0.1,0.2"], preset(optim__lr="1e-3,1e-4", data__batch_size="8,16"))
    assert laid_out.fixed == ["optim.lr=1e-2"]
    assert [list(job.point) for job in laid_out.jobs] == [["data.batch_size", "model.dropout"]] * 4


def test_random_search_stays_inside_its_ranges() -> None:
    given = [f"optim.lr={LOG}", "model.dropout=interval(0.2,0.4)", "model.stages=int(interval(1,4))", "augment=a,b"]
    drawn = [job.point for job in plan(given, preset("random", trials=2000)).jobs]
    assert len(drawn) == 2000
    rates = [float(point["optim.lr"]) for point in drawn]
    assert all(1e-5 <= rate < 1e-2 for rate in rates)
    # log-uniform: a third of the draws in each of the three powers of ten; 2000 draws stray by 0.04 at most (4 sigma)
    for low in (1e-5, 1e-4, 1e-3):
        assert sum(low <= rate < 10 * low for rate in rates) / 2000 == pytest.approx(1 / 3, abs=0.045)
    assert all(0.2 <= float(point["model.dropout"]) < 0.4 for point in drawn)
    assert statistics.fmean(float(point["model.dropout"]) for point in drawn) == pytest.approx(0.3, abs=0.006)
    assert {point["model.stages"] for point in drawn} == {"1", "2", "3"}
    assert {point["augment"] for point in drawn} == {"a", "b"}


def test_random_search_is_reproducible_from_its_seed() -> None:
    def points(trials: int, seed: int, *more: str) -> list[dict[str, str]]:
        jobs = plan([f"optim.lr={LOG}", "data.batch_size=16,32", *more], preset("random", trials, seed)).jobs
        return [dict(job.point) for job in jobs]

    assert points(20, 0) == points(20, 0)
    assert points(20, 0) != points(20, 1)
    assert points(30, 0)[:20] == points(20, 0), "more trials add to those that were there"
    wider = points(20, 0, "model.dropout=interval(0,1)")
    assert [{**point, "model.dropout": ""} for point in points(20, 0)] == [{**p, "model.dropout": ""} for p in wider]


def test_every_way_to_repeat_is_no_point_of_its_own() -> None:
    """Other splits or seeds of the same settings: their mean counts, and none of them wins alone."""
    for key in ("data.split.fold", "data.split.seed", "seed"):
        jobs = plan([f"{key}=1,2", "optim.lr=1e-3,1e-4"], preset()).jobs
        assert [dict(job.repeat) for job in jobs] == [{key: "1"}, {key: "2"}] * 2
        assert len({tuple(job.point.items()) for job in jobs}) == 2


def test_folds_and_seeds_are_crossed_with_every_point() -> None:
    jobs = plan(["data.split.fold=range(3)", "seed=7,8", f"optim.lr={LOG}"], preset("random", trials=4)).jobs
    assert len(jobs) == 4 * 3 * 2
    assert len({job.point["optim.lr"] for job in jobs}) == 4
    assert {tuple(job.repeat.values()) for job in jobs[:6]} == set(itertools.product("012", "78"))


@pytest.mark.parametrize(
    ("sampler", "argument", "line"),
    [
        ("grid", f"optim.lr={LOG}", "optim.lr: expected a list of values for a grid, got an interval: use sweep=rand"),
        ("random", "optim.lr=interval(2,1)", "optim.lr: expected an interval(from, to) of rising numbers, got 2.0"),
        ("random", "optim.lr=tag(log,interval(0,1))", "expected an interval(from, to) of rising numbers above 0"),
        ("random", "sweep.trials=2,3", "sweep.trials: expected one value, got several"),
    ],
)
def test_mistakes_get_one_line(sampler: str, argument: str, line: str) -> None:
    with pytest.raises(UserError, match=re.escape(line)):
        plan([argument], preset(sampler))


def test_without_drops_a_setting_and_all_below_it() -> None:
    given = ["sweep=grid", "sweep.trials=3", "+sweep.x=1", "sweeper=1", "report=true", "optim.lr=1"]
    assert without(given, "sweep", "report") == ["sweeper=1", "optim.lr=1"]


def test_the_ranking_is_by_mean_with_unfinished_points_last(tmp_path: Path) -> None:
    jobs = [
        Job(2 * point + fold, {"lr": lr}, {"data.split.fold": str(fold)})
        for point, lr in enumerate(("a", "b", "c", "d"))
        for fold in (0, 1)
    ]
    records = {
        0: finished(0.5), 1: finished(0.7), 2: finished(0.9), 3: Record("failed", 0.1, "boom"),
        4: finished(0.61), 5: finished(0.63), 6: finished(0.6200000001), 7: finished(0.62),
    }  # fmt: skip
    points = ranking(sweep_of(tmp_path, jobs), records)
    assert [point.values["lr"] for point in points] == ["c", "d", "a", "b"], "equal means: the earlier point first"
    assert points[0].score == pytest.approx(0.62)
    assert points[2].spread == pytest.approx(0.2 / math.sqrt(2))
    assert points[3].score is None, "one of its jobs failed"


def test_losses_and_rates_of_mistakes_are_better_when_low(tmp_path: Path) -> None:
    jobs = [Job(0, {"lr": "a"}, {}), Job(1, {"lr": "b"}, {}), Job(2, {"lr": "c"}, {})]
    for name, best in (("loss", "b"), ("escape_rate", "b"), ("overkill_rate", "b"), ("recall", "a")):
        records = {0: finished(0.9, name), 1: finished(0.1, name), 2: finished(None, name)}
        points = ranking(sweep_of(tmp_path, jobs, f"val_{name}"), records)
        assert points[0].values["lr"] == best
        assert points[-1].values["lr"] == "c", "no figure, no rank"


class DyingLauncher:
    """Like joblib's: when a job's process is killed, the other running jobs die with it and nothing is returned."""

    def __init__(self, sweep: Sweep, deadly: int) -> None:
        self.sweep, self.deadly, self.calls = sweep, deadly, list[list[int]]()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        numbers = [int(overrides[-1].removeprefix("hydra.sweep.subdir=")) for overrides in job_overrides]
        self.calls.append(numbers)
        for number in numbers:
            folder = self.sweep.job(number)
            folder.mkdir(exist_ok=True)
            (folder / "output.txt").touch()
            if number == self.deadly:
                (beside := self.sweep.job(numbers[-1])).mkdir(exist_ok=True)
                (beside / "output.txt").touch()
                raise RuntimeError("a worker was terminated")
            finished(0.5).write(folder)
        return [JobReturn() for _ in numbers]


def test_a_job_whose_process_dies_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, [Job(number, {"lr": str(number)}, {}) for number in range(6)])
    launcher: Any = DyingLauncher(sweep, deadly=2)
    _launch(launcher, sweep, sweep.plan.jobs, one_line)
    records = sweep.records()
    assert {number for number, record in records.items() if record.finished} == {0, 1, 3, 4, 5}
    assert "its process died" in records[2].message
    assert "a worker was terminated" in records[2].message
    assert launcher.calls == [[0, 1, 2, 3, 4, 5], [2], [5], [3, 4]], "what had finished was not run again"


def test_a_job_that_is_still_running_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_BEAT", 0.05)
    (tmp_path / "alive").write_text("a process that was killed")
    job.wait_for_others(tmp_path)
    ended = []

    def other() -> None:
        with job.heartbeat(tmp_path):
            time.sleep(0.5)
            ended.append(time.monotonic())

    thread = threading.Thread(target=other)
    thread.start()
    time.sleep(0.1)
    job.wait_for_others(tmp_path)
    assert ended
    thread.join()
    assert not (tmp_path / "alive").exists()


def test_a_job_that_has_finished_is_not_run_again_by_a_second_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As called by Ray when a node was lost after the last line."""
    hydra = SimpleNamespace(runtime=SimpleNamespace(cwd=str(Path.cwd()), output_dir=str(tmp_path)))
    monkeypatch.setattr(job.HydraConfig, "get", lambda: hydra)
    finished(0.7).write(tmp_path)
    (tmp_path / "metrics.json").touch()

    def command(cfg: object) -> None:
        raise AssertionError("run again")

    assert job.SweepJob(command, repr, StopRequest())(OmegaConf.create()) == finished(0.7)
    assert (tmp_path / "metrics.json").is_file()


def test_no_job_begins_after_ctrl_c_that_a_library_swallowed() -> None:
    stop, before = StopRequest(), signal.getsignal(signal.SIGINT)
    with remembered_interrupt(stop), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        job.SweepJob(lambda _: None, repr, stop)(OmegaConf.create())


def test_a_launcher_that_starts_nothing_is_said_once(tmp_path: Path) -> None:
    class NoSlurm:
        def launch(self, job_overrides: object, initial_job_idx: int) -> None:
            raise RuntimeError("Could not detect slurm")

    launcher: Any = NoSlurm()
    sweep = sweep_of(tmp_path, [Job(number, {}, {}) for number in range(3)])
    with pytest.raises(UserError, match=r"hydra.launcher: no job could be started: RuntimeError: Could not detect slu"):
        _launch(launcher, sweep, sweep.plan.jobs, one_line)


def test_a_gpu_is_lent_to_one_job_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "_POLL", 0.01)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    hydra = SimpleNamespace(launcher=SimpleNamespace(_target_="x.JoblibLauncher"))
    busy: list[int] = []
    most = [0]

    def borrower() -> None:
        cfg = OmegaConf.create({"trainer": {"accelerator": "auto", "devices": 1}})
        with gpus.lent_gpu(cfg, hydra):
            (device,) = cfg.trainer.devices
            assert device not in busy
            busy.append(device)
            most[0] = max(most[0], len(busy))
            time.sleep(0.03)
            busy.remove(device)

    threads = [threading.Thread(target=borrower) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] == 2, "both GPUs are used"


@pytest.mark.parametrize(
    ("launcher", "devices", "line"),
    [
        ("JoblibLauncher", "auto", "trainer.devices: expected 1 where several jobs run at a time, got auto"),
        ("SlurmLauncher", "1", "this node has GPUs and the job was given none"),
        ("RayLauncher", "1", "this node has GPUs and the job was given none"),
    ],
)
def test_jobs_never_share_a_gpu(launcher: str, devices: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cfg = OmegaConf.create({"trainer": {"accelerator": "auto", "devices": devices}})
    hydra = SimpleNamespace(launcher=SimpleNamespace(_target_=f"x.{launcher}"))
    with pytest.raises(UserError, match=re.escape(line)), gpus.lent_gpu(cfg, hydra):
        pass
    cfg.trainer.accelerator = "cpu"
    with gpus.lent_gpu(cfg, hydra), ExitStack():
        assert cfg.trainer.devices == devices


def test_each_fold_is_once_the_validation_part_and_the_test_part_stays() -> None:
    photos = [
        Photo(Path(f"{label}-{i}"), f"{label}-{i}", label, f"{label}-{i // 2}") for label in (0, 1) for i in range(60)
    ]
    whole = split(photos, split_settings())
    dealings = []
    for dealing in (0, 1):
        held = [
            {i for i, of in enumerate(split(photos, split_settings(fold=fold))) if of == "val"}
            for fold in range(5 * dealing, 5 * dealing + 5)
        ]
        assert sorted(i for of in held for i in of) == [i for i, of in enumerate(whole) if of != "test"]
        for of in held:
            groups = {photos[i].group for i in of}
            assert {i for i, photo in enumerate(photos) if photo.group in groups} == of, "groups stay whole"
            share = statistics.fmean(photos[i].label for i in of)
            assert share == pytest.approx(0.5, abs=0.13), "stratified"
        dealings.append(held)
    assert dealings[0] != dealings[1], "dealt again"
    for fold in range(10):
        subsets = split(photos, split_settings(fold=fold))
        assert [of == "test" for of in subsets] == [of == "test" for of in whole]


def test_folds_that_cannot_be_are_refused() -> None:
    few = [Photo(Path(str(i)), str(i), int(i < 4), str(i)) for i in range(40)]
    with pytest.raises(UserError, match=re.escape("data.split.folds: expected at most 3, as one class lies in so few")):
        split(few, split_settings(fold=0))
    given = [Photo(Path(str(i)), str(i), i % 2, str(i), "val" if i < 10 else "train") for i in range(40)]
    with pytest.raises(UserError, match=r"data.split.fold=0: these photos come with a validation part"):
        split(given, split_settings(fold=0))


def test_the_page_is_one_safe_file(tmp_path: Path) -> None:
    """Values from outside are shown, not executed; nothing is loaded from elsewhere."""
    evil = "<script>alert(1)</script>"
    jobs = [Job(i, {"optim.lr": str(10.0**-i), "data.root": evil if i % 2 else "a"}, {}) for i in range(12)]
    records: dict[int, Record] = {i: finished(0.5 + i / 100) for i in range(11)} | {11: Record("failed", 1.0, evil)}
    sweep = sweep_of(tmp_path / evil.replace("/", "_"), jobs)
    sweep.folder.mkdir()
    page = write_page(sweep, records, ranking(sweep, records), f"python {evil}").read_text()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=\"(?!#|data:|\d+/report\.html|winner/report\.html)", page)
    assert page.count('<polyline class="line') == 11, "a line a point that has a score"
    assert page.count('class="line won"') == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    best = json.dumps(records[10].val["auroc"]["value"])
    assert f"{float(best):.4f}" in page


def test_a_page_without_a_winner(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, [Job(0, {"optim.lr": "1"}, {})])
    records = {0: Record("failed", 1.0, "boom")}
    assert "No winner" in write_page(sweep, records, ranking(sweep, records), None).read_text()


def test_the_winners_command_means_what_the_sweep_was_given() -> None:
    """Quotes around a path go; a text that Hydra would read as something else keeps them. Hydra is the judge."""
    given = {"data.root": "my/photos", "data.classes.correct": "true", "data.classes.incorrect": "1e3"}
    sweep = SimpleNamespace(plan=SimpleNamespace(fixed=[f"{key}={quoted(value)}" for key, value in given.items()]))
    command = train_command(sweep, SimpleNamespace(values={"optim.lr": "0.1"}))  # type: ignore[arg-type]
    parsed = OverridesParser.create().parse_overrides(shlex.split(command)[3:])
    assert {one.key_or_group: one.value() for one in parsed} == given | {"optim.lr": 0.1}
    assert "data.root=my/photos" in command
