"""Files of a run as they come broken, torn or edited by hand, and the commands that read them."""

import contextlib
import csv
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
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import yaml

import forked
from bad_files import damaged
from forked import Action
from qc_lightning.core.errors import UserError
from qc_lightning.core.room import without_room

_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2.5, -0.0, 1e308, 10**30, float("nan"), float("inf"), "", "0.5", "x" * 3000, "a\0b",
    "..", "/dev/zero", "${oc.env:HOME}", "=1+1", "\ud800", "é" * 200, "1e5000", "null", [], {}, [[]], [None],
    [1, 2, 3], {"a": 1}, {"value": None},
)  # fmt: skip
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
"""Where inputs that ended in a traceback are kept."""
_SECONDS = 30
_BATCH = 100


def _odd(rng: np.random.Generator) -> Any:
    return _ODD[int(rng.integers(len(_ODD)))]


def _places(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every node below this one."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list | tuple) else ()
    for key in keys:
        yield (*above, key)
        yield from _places(node[key], (*above, key))


def edited(rng: np.random.Generator, content: Any, odd: Callable[[], Any]) -> Any:
    """Plain data with one to three nodes replaced, removed, renamed or doubled."""
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(content))
        if not places:
            return odd()
        *above, key = places[int(rng.integers(len(places)))]
        node = content
        for step in above:
            node = node[step]
        if isinstance(node, tuple):
            continue
        how = int(rng.integers(6))
        if how == 0:
            del node[key]
        elif how == 1 and isinstance(node, dict):
            node[f"{key}x"] = node.pop(key)
        elif how == 1:
            node.append(node[key])
        else:
            node[key] = odd()
    return content


def edited_table(rng: np.random.Generator, text: str) -> str:
    """A CSV with cells, rows or columns changed."""
    rows = list(csv.reader(io.StringIO(text))) or [[]]
    for _ in range(int(rng.integers(1, 4))):
        row = rows[int(rng.integers(len(rows)))]
        column = int(rng.integers(max(1, len(rows[0]))))
        how = int(rng.integers(7))
        if how == 0:
            rows = [[cell for at, cell in enumerate(one) if at != column] for one in rows]
        elif how == 1:
            row.append(str(_odd(rng)))
        elif how == 2 and len(rows) > 1:
            rows.remove(row)
        elif how == 3:
            rows.append(list(row))
        elif how == 4 and rows:
            rng.shuffle(rows[0])
        elif column < len(row):
            row[column] = str(_odd(rng))
    out = io.StringIO()
    with contextlib.suppress(csv.Error):
        csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _checkpoint(rng: np.random.Generator, data: bytes) -> bytes:
    """A checkpoint with other values in it, and tensors of other shapes and kinds."""
    import torch

    def odd() -> Any:
        kinds = [
            torch.zeros(0),
            torch.full((3,), torch.nan),
            torch.zeros(2, 2, dtype=torch.int64),
            torch.ones(1).expand(10**6),
        ]
        return kinds[int(rng.integers(4))] if rng.random() < 0.4 else _odd(rng)

    content = edited(rng, torch.load(io.BytesIO(data), weights_only=True), odd)
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def _inspector(rng: np.random.Generator, data: bytes) -> bytes:
    """An exported inspector with another graph or other metadata, sealed again."""
    import onnx

    from qc_lightning.inference.sealed_file import _LENGTH, seal

    body = data[:-_LENGTH]
    if rng.random() < 0.4:
        return seal(damaged(rng, body)[1])
    model = onnx.load_from_string(body)
    entry = model.metadata_props[int(rng.integers(len(model.metadata_props)))]
    with contextlib.suppress(ValueError):
        entry.value = json.dumps(edited(rng, json.loads(entry.value), lambda: _odd(rng)))
    if rng.random() < 0.2:
        del model.metadata_props[int(rng.integers(len(model.metadata_props)))]
    return seal(model.SerializeToString())


def broken(rng: np.random.Generator, name: str, data: bytes) -> tuple[str, bytes]:
    """What was done to a file of a run, and the result."""
    if rng.random() < 0.35:
        how = int(rng.integers(5))
        if how == 0:
            return "other bytes", (b"", b"\n", b"\xff\xfe\0\0", b"[" * 5000, b'{"a":' * 3000, rng.bytes(50))[
                int(rng.integers(6))
            ]
        return damaged(rng, data)
    suffix = Path(name).suffix
    try:
        if suffix == ".ckpt":
            return "edited", _checkpoint(rng, data)
        if suffix == ".onnx":
            return "edited", _inspector(rng, data)
        if suffix == ".csv":
            return "edited", edited_table(rng, data.decode()).encode(errors="surrogatepass")
        if suffix == ".yaml":
            text = yaml.safe_dump(edited(rng, yaml.safe_load(data), lambda: _odd(rng)))
        else:
            text = json.dumps(edited(rng, json.loads(data), lambda: _odd(rng)))
        return "edited", text.encode(errors="surrogatepass")
    except (yaml.YAMLError, ValueError):
        return damaged(rng, data)


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

    cfg = composed("train", ["resume=run", "trainer.max_epochs=2"])
    with open_dict(cfg):
        del cfg["hydra"]
    now = OmegaConf.to_container(cfg, resolve=True)

    def act() -> None:
        run = Run.open("run", "resume")
        stored = RunRecord.read(run)
        config = resumed(now, stored, ["trainer.max_epochs=2"], "run")
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
    """It took too long."""


def _late(number: int, frame: FrameType | None) -> None:
    raise Hang(f"after {_SECONDS} s")


def ending(action: Action) -> tuple[str, str]:
    """How a command ended (well, refused or broken), and why where it broke."""
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
    """A run with all that a run can have, a sweep and a release."""
    import full_disk

    full_disk.prepare(work)
    for name, arguments in (("export", ["run=run"]), ("release", ["run=run", "name=press", "force=true"])):
        end = forked.run(forked.command(name, *arguments), work)
        assert end.code == 0, end.output


def attack(work: Path, seed: int, count: int) -> Counter[str]:
    """So many broken files, one at a time, in copies of a folder; faults are printed, and counted by their place."""
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
        reader = list(ways[name])[int(rng.integers(len(ways[name])))]
        start = time.monotonic()
        end, why = ending(ways[name][reader])
        seen[f"{name} {end}"] += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if end == "broken" or peak - before > 700_000 or time.monotonic() - start > 20:
            seen["faults"] += 1
            took = f"{time.monotonic() - start:.1f} s, {(peak - before) / 1000:.0f} MB more"
            print(f"FAULT {name}, {how}, {reader}: {why} ({took})", file=sys.__stdout__, flush=True)
            FOUND.mkdir(exist_ok=True)
            (FOUND / f"{hashlib.sha256(data).hexdigest()[:12]}-{Path(name).name}").write_bytes(data)
        before = max(before, peak)
    return seen


def fuzz(scratch: Path, seed: int, count: int) -> Counter[str]:
    """As `attack`, in forked processes of some files each."""
    forked.import_all()
    template = scratch / "template"
    template.mkdir(parents=True)
    prepare(template)
    readers()  # composing imports Hydra
    total = Counter[str]()
    for start in range(0, count, _BATCH):
        work = scratch / "work"

        def act(start: int = start, work: Path = work) -> None:
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
            print(f"batch {start} ended with {end.code}: {end.output[-300:]}", flush=True)
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
