"""Commands that read broken files of a run: each reads them or refuses in one line."""

import contextlib
import faulthandler
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType

import numpy as np

import forked
from edited_run_files import broken
from forked import Action
from qc_lightning.core.errors import UserError
from qc_lightning.core.room import without_room

_READ_BY = {
    "run/config.yaml": "evaluate resume report explain",
    "run/split.csv": "evaluate resume export report explain",
    "run/decision.json": "predict decide release report export",
    "run/metrics.json": "report release predict robustness",
    "run/checkpoints/best.ckpt": "predict decide evaluate resume",
    "run/checkpoints/last.ckpt": "resume",
    "run/history.csv": "report resume",
    "run/predictions.csv": "report",
    "run/validation.csv": "report decide",
    "run/export/inspector.onnx": "verify",
    "sweep/0/job.json": "sweep_report",
    "sweep/sweep.json": "sweep_report",
    "outputs/releases/press.json": "named release",
}
FOUND = Path("torture").absolute()
"""Folder for inputs that caused a traceback."""
_SECONDS = 30
_BATCH = 1000
_SLOW = ("export", "robustness", "explain")
"""Commands that take a second or more: only one in eight of their turns is run."""


def _composed(name: str, *arguments: str) -> Action:
    """A command with its settings composed once."""
    import importlib

    from qc_lightning.cli.commands import COMMANDS
    from qc_lightning.cli.compose import composed
    from qc_lightning.config import parse

    config = parse(composed(name, arguments), COMMANDS[name].schema)
    act = getattr(importlib.import_module(f"qc_lightning.{name}"), name)
    return lambda: act(config)


def _resume() -> Action:
    from omegaconf import OmegaConf, open_dict

    from qc_lightning.cli.compose import composed
    from qc_lightning.cli.training import resumed
    from qc_lightning.config.record import RunRecord
    from qc_lightning.core.run import Run
    from qc_lightning.train import train

    changes = ["trainer.max_epochs=2", "report=false"]  # the report has its own reader
    cfg = composed("train", ["resume=run", *changes])
    with open_dict(cfg):
        del cfg["hydra"]
    now = OmegaConf.to_container(cfg, resolve=True)

    def act() -> None:
        run = Run.open("run", "resume")
        stored = RunRecord.read(run)
        config = resumed(now, stored, changes, "run")
        train(config, run, stored)

    return act


def _report() -> None:
    from qc_lightning.report.page import write_report

    write_report(Path("run"))


def _verify() -> None:
    from qc_lightning.inference.exported import ExportedInspector

    inspector = ExportedInspector.load("run/export/inspector.onnx", threads=1)
    inspector.verify_golden()
    inspector(next(Path("in").iterdir()))


def readers() -> dict[str, dict[str, Action]]:
    """The commands that read each file, by their names."""
    evaluate = _composed("evaluate", "run=run", "subset=test", "name=again")
    predict = _composed("predict", "run=run", "source=in", "output=v.csv")
    decide = _composed("decide", "run=run", "rule=balanced", "reason=tried")
    release = _composed("release", "run=run", "name=other", "force=true")
    export = _composed("export", "run=run", "output=out/inspector.onnx")
    explain = _composed("explain", "run=run", "photos=2")
    sweep = _composed("sweep_report", "run=sweep")
    named = _composed("predict", "run=press", "source=in", "output=v.csv")
    robustness = _composed("robustness", "run=run", "photos=2")
    ways = {
        "evaluate": evaluate, "predict": predict, "decide": decide, "release": release, "export": export,
        "explain": explain, "robustness": robustness, "resume": _resume(), "report": _report, "verify": _verify,
        "sweep_report": sweep, "named": named,
    }  # fmt: skip
    return {file: {name: ways[name] for name in names.split()} for file, names in _READ_BY.items()}


class Hang(Exception):
    """The command took too long."""


def _late(number: int, frame: FrameType | None) -> None:
    raise Hang(f"after {_SECONDS} s")


def ending(action: Action) -> tuple[str, str]:
    """The result of a command (well, refused or broken), and the reason if broken."""
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            action()
    except UserError as error:
        return ("refused", "") if "\n" not in str(error).strip() else ("broken", f"several lines: {error}")
    except SystemExit as end:
        return ("well", "") if end.code in (0, 1, 3) else ("broken", f"exit {end.code}")
    except OSError as error:
        return ("refused", "") if without_room(error) else ("broken", _where(error))
    except BaseException as error:
        return "broken", _where(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "well", ""


def _where(error: BaseException) -> str:
    own = [step for step in traceback.extract_tb(error.__traceback__) if "qc_lightning" in step.filename]
    at = " < ".join(f"{Path(step.filename).name}:{step.lineno}" for step in reversed(own[-3:]))
    return f"{type(error).__name__}: {str(error)[:100]} at {at}"


def prepare(work: Path) -> None:
    """A run with all files that a run can have, a sweep and a release."""
    import full_disk

    full_disk.prepare(work)
    for name, arguments in (("export", ["run=run"]), ("release", ["run=run", "name=press", "force=true"])):
        end = forked.run(forked.command(name, *arguments), work)
        assert end.code == 0, end.output


def _keep(data: bytes) -> Path:
    FOUND.mkdir(exist_ok=True)
    path = FOUND / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    return path


def attack(work: Path, seed: int, count: int) -> Counter[str]:
    """Try a number of broken files, one at a time, in copies of a folder; print faults and count them by place."""
    template, name = work.with_name("template"), ""
    ways = {file: dict(actions) for file, actions in readers().items()}
    rng, seen = np.random.default_rng(seed), Counter[str]()
    warnings.simplefilter("ignore")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        os.chdir(work.parent)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(template, work)
        os.chdir(work)
        name = list(ways)[int(rng.integers(len(ways)))]
        how, data = broken(rng, name, (work / name).read_bytes())
        (work / name).write_bytes(data)
        names = [one for one in ways[name] if one not in _SLOW or rng.random() < 1 / 8]
        reader = names[int(rng.integers(len(names)))]
        start = time.monotonic()
        work.with_name("now").write_bytes(data)
        end, why = ending(ways[name][reader])
        seen[f"{name} {end}"] += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if end == "broken" or peak - before > 700_000 or time.monotonic() - start > 20:
            seen["faults"] += 1
            took = f"{time.monotonic() - start:.1f} s, {(peak - before) / 1000:.0f} MB more"
            print(f"FAULT {name}, {how}, {reader}: {why} ({took})", file=sys.__stdout__, flush=True)
            _keep(data)
        before = max(before, peak)
    return seen


def fuzz(scratch: Path, seed: int, count: int) -> Counter[str]:
    """Like `attack`, in forked processes with some files each."""
    forked.import_all()
    template = scratch / "template"
    template.mkdir(parents=True)
    prepare(template)
    readers()  # composing imports Hydra
    total = Counter[str]()
    for start in range(0, count, _BATCH):
        work = scratch / "work"

        def act(start: int = start, work: Path = work) -> None:
            faulthandler.enable()
            seen = attack(work, seed * 100_003 + start, min(_BATCH, count - start))
            print("SEEN " + json.dumps(seen), file=sys.__stdout__, flush=True)

        scratch.mkdir(exist_ok=True)
        end = forked.run(act, scratch, seconds=1200)
        for line in end.output.splitlines():
            if line.startswith("FAULT"):
                print(line, flush=True)
            elif line.startswith("SEEN "):
                total.update(json.loads(line[5:]))
                print(f"{start + _BATCH:,} files, {total['faults']} faults", flush=True)
        if end.code:
            total["faults"] += 1
            kept = _keep((scratch / "now").read_bytes())
            print(f"batch {start} ended with {end.code} at {kept}: {end.output[-3000:]}", flush=True)
    return total


def rows(seen: Counter[str]) -> list[str]:
    """The rows of the table."""
    names = dict.fromkeys(key.rsplit(" ", 1)[0] for key in seen if key != "faults")
    table = []
    for name in sorted(names):
        well, refused, other = (seen[f"{name} {end}"] for end in ("well", "refused", "broken"))
        how = f"{refused:,} refused in one line, {well:,} read, {other} else"
        table.append(f"| broken {name} | {well + refused + other:,} | {how} |")
    return table
