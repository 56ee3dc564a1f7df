"""A run's record and its claim on a folder: content of config.yaml, errors of a damaged one, ownership of a folder."""

import itertools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qc_lightning import certify, decide
from qc_lightning import evaluate as evaluate_command
from qc_lightning.cli.compose import compose
from qc_lightning.cli.training import what_next
from qc_lightning.config.record import RunRecord
from qc_lightning.core.atomic import unfinished_folder, write_text
from qc_lightning.core.claim import claim_sweep, claimed, place_folder
from qc_lightning.core.errors import UserError
from qc_lightning.core.lock import held, is_held
from qc_lightning.core.run import Run

Train = Callable[..., tuple[int, Path, str]]
SMALL = ("data.count=24", "data.image_size=16", "model.hidden=[16]", "trainer.max_epochs=1", "report=false")
NASTY = [
    "true",
    "null",
    "1_0",
    "1e0",
    "0x1",
    "~",
    "良品",
    "a: b",
    "#",
    "'",
    '"',
    "\u202e",
    "\udcff",
    "${oc.env:HOME}",
    " ",
]


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    config = compose(["optim.lr=1e-05", "model.hidden=[16,8]", "augment=light"])
    for name in NASTY:
        names = replace(config.data.classes, correct=name, incorrect="other")
        written = replace(config, data=config.data.of_folder(classes=names, root=name, manifest=None))
        run = Run(tmp_path)
        RunRecord.from_config(written, name, [name]).write(run)
        read = RunRecord.read(run)
        assert read.training == written
        assert (read.command, read.overrides, read.directory) == (name, [name], str(Path.cwd()))


def test_a_run_of_before_there_was_a_setting_is_read(tmp_path: Path) -> None:
    run, config = Run(tmp_path), compose([])
    RunRecord.from_config(config, "", []).write(run)
    record = yaml.safe_load(run.record.read_text())
    for name in ("mask", "cameras", "corrections"):
        assert record["settings"]["data"].pop(name) is None
    run.record.write_text(yaml.safe_dump(record))
    assert RunRecord.read(run).training == config
    del record["settings"]["data"]["bit_depth"]
    run.record.write_text(yaml.safe_dump(record))
    with pytest.raises(UserError, match=r"of another release .*data.bit_depth: expected a value, got none"):
        assert RunRecord.read(run).training


def test_a_run_that_tells_nothing_apart_is_not_sent_to_predict(tmp_path: Path) -> None:
    config = compose(["experiment=recommended", "data=folder", f"data.root={tmp_path}"])
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    for matrix, low, step in (([[7, 5], [7, 5]], 0.33, "audit"), ([[12, 0], [0, 12]], 0.8, "predict")):
        part = {"n": 24, "confusion_matrix": matrix, "balanced_accuracy": {"low": low}}
        write_text(run.metrics, json.dumps({"test": part}))
        assert what_next(run, config).startswith(f"next:  qc-lightning {step} ")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "format: 1", "format: 2\n", "a: [", "\x00", "format: 1\ncommand: x\noverrides: y\n",
        "x: &x [1]\ny: *x\n", "[" * 10000, "? {a: b}\n: c\n", "!!python/object/apply:os.system [touch PWNED]",
        "format: 1\ncommand: ''\noverrides: []\ndirectory: ''\nsettings: {data: 1}\n", "2026-99-99",
    ],
)  # fmt: skip
def test_a_damaged_record_is_one_line(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        _ = RunRecord.read(Run(tmp_path)).training
    assert "\n" not in str(error.value)
    assert "again" in str(error.value)
    assert not Path("PWNED").exists()


def test_a_run_is_whole_without_hidden_files(
    train: Train, call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cp -r run/* there/` gives a run."""
    code, run, output = train(*SMALL)
    assert code == 0, output
    assert not list(run.rglob(".*"))
    content = yaml.safe_load((run / "config.yaml").read_text())
    assert content["format"] == 1
    assert content["overrides"][0] == "trainer.enable_progress_bar=false"
    assert content["settings"]["data"]["image_size"] == 16
    os.system(f"mkdir there && cp -r {run}/* there/")
    assert call(evaluate_command.main, "run=there") == 0
    assert "to the last digit" in capsys.readouterr().out


def test_a_refused_command_leaves_the_run_that_is_there_alone(train: Train) -> None:
    _, run, _ = train(*SMALL)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for arguments in (["model.dropout=0.1"], ["optim.lr=-1"], ["data=folder", "data.root=nowhere"]):
        code, _, output = train(*SMALL, *arguments, f"hydra.run.dir={run}", folder=run)
        assert code == 2, output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_two_starts_in_one_second_get_a_folder_each(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "today" / "12-00-00"
    with claimed(folder, "first", named=False) as one, claimed(folder, "second", named=False) as two:
        for run in (one, two):
            run.split.touch()
    assert (one.folder, two.folder) == (folder, folder.with_name("12-00-00-2"))
    assert (one.record.read_text(), two.record.read_text()) == ("first", "second")
    with pytest.raises(UserError, match="already holds a run"), claimed(folder, "third", named=True):
        pass


def test_what_never_began_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no photos"), claimed(tmp_path / "a" / "b", "record", named=False):
        raise UserError("no photos")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(UserError, match="no photos"), claimed(tmp_path / "mine", "record", named=True):
        raise UserError("no photos")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def hold(folder: Path, ready: "multiprocessing.synchronize.Event") -> None:
    with held(folder):
        ready.set()
        ready.wait(60)
        while ready.is_set():
            pass


def test_a_living_run_is_not_resumed_decided_on_or_the_latest(
    train: Train, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    _, older, _ = train(*SMALL)
    _, run, _ = train(*SMALL)
    (train(*SMALL)[1] / "metrics.json").unlink()  # stopped before it was measured
    assert Run.open("latest").folder.name == run.name
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(run, ready))
    other.start()
    try:
        assert ready.wait(60)
        assert is_held(run)
        assert Run.open("latest").folder.name == older.name
        code, _, output = train(f"resume={run}", "trainer.max_epochs=2")
        assert code == 2
        assert "is still being trained by another process" in output
        assert call(decide.main, f"run={run}", "threshold=0.4", "reason=a try") == 2
        assert call(certify.main, f"run={run}", "data.root=nowhere", "escape_rate=0.05") == 2
        assert capsys.readouterr().err.count("is being trained, which ends with a decision of its own") == 2
    finally:
        other.kill()
        other.join()
    assert not is_held(run), "the lock dies with its process"
    assert train(f"resume={run}", "trainer.max_epochs=2")[0] == 0


CODE = (
    {"_target_": "os.system", "command": "touch PWNED"},
    {"_target_": "timeit.timeit", "stmt": "open('PWNED', 'w')", "number": 1},
    {"_target_": "cProfile.run", "statement": "open('PWNED', 'w')"},
    {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": ["PWNED"]}},
    {"_target_": "shutil.rmtree", "path": "VICTIM"},
)


def test_resume_takes_nothing_but_settings_out_of_a_record(train: Train) -> None:
    _, run, _ = train(*SMALL)
    Path("VICTIM").mkdir()
    record = RunRecord.read(Run(run))
    evil = [f"+hydra.callbacks.x{at}={json.dumps(code)}" for at, code in enumerate(CODE)]
    replace(record, overrides=evil, command="touch PWNED", directory="$(touch PWNED)").write(Run(run))
    train(f"resume={run}", "trainer.max_epochs=2")
    places: list[Callable[[object], dict[str, object]]] = [
        lambda code: {"hydra": {"callbacks": {"x": code}}},
        lambda code: {"trainer": {"callbacks": code}},
        lambda code: {"trainer": {"profiler": code}},
        lambda code: {"logger": code},
        lambda code: {"model": code},
        lambda code: {"data": {**record.settings["data"], "root": code}},
    ]
    for code, place in itertools.product(CODE, places):
        replace(record, settings={**record.settings, **place(code)}).write(Run(run))
        rc, _, output = train(f"resume={run}", "trainer.max_epochs=2")
        assert rc == 2, output
        assert "Traceback" not in output
    yaml_code = "!!python/object/apply:os.system ['touch PWNED']"
    Run(run).record.write_text(record.to_yaml().replace("optim:", f"x: {yaml_code}\n  optim:"))
    rc, _, output = train(f"resume={run}", "trainer.max_epochs=2")
    assert (rc, "config.yaml is damaged" in output) == (2, True), output
    assert Path("VICTIM").is_dir()
    assert not Path("PWNED").exists()


def test_what_a_record_says_is_not_looked_up(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    _, run, _ = train(*SMALL)
    record = RunRecord.read(Run(run))
    data = {**record.settings["data"], "classes": {"correct": "${oc.env:SECRET}", "incorrect": "B"}}
    replace(record, settings={**record.settings, "data": data}).write(Run(run))
    _, _, output = train(f"resume={run}", "trainer.max_epochs=2")
    assert "s3cret" not in output
    assert not [path for path in run.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_resume_keeps_what_it_was_resumed_with(train: Train) -> None:
    _, run, _ = train(*SMALL, "optim.lr=1e-2")
    assert train(f"resume={run}", "trainer.max_epochs=3")[0] == 0
    settings = RunRecord.read(Run(run)).training
    assert (settings.trainer["max_epochs"], settings.optim.lr) == (3, 0.01)
    code, _, output = train(f"resume={run}", "optim.lr=-1")
    assert code == 2, output
    code, _, output = train(f"resume={run}", "experiment=recommended")
    assert code == 2
    assert "resume: a run is continued with its own recipe" in output
    assert RunRecord.read(Run(run)).training == settings


def test_a_setting_without_effect_is_named(train: Train) -> None:
    code, _, output = train(*SMALL, "model.penalty=0.1", "data.split.folds=3")
    assert code == 0
    assert "NOTE: model.penalty does nothing here: the paper's network has none of it" in output
    assert "NOTE: data.split.folds does nothing here: no data.split.fold is given" in output
    assert "NOTE: data.count" not in output


def test_two_evaluations_in_one_second_get_a_folder_each(tmp_path: Path) -> None:
    def placed(named: bool) -> Path:
        with unfinished_folder(tmp_path / "evaluations") as unfinished:
            (unfinished / "metrics.json").write_text("{}")
            return place_folder(unfinished, tmp_path / "evaluations" / "noon", named, "name=")

    assert [placed(named=False).name for _ in range(3)] == ["noon", "noon-2", "noon-3"]
    with pytest.raises(UserError, match="already exists: give another name="):
        placed(named=True)
    assert len(list((tmp_path / "evaluations").iterdir())) == 3, "nothing unfinished is left"


def test_two_sweeps_in_one_second_get_a_folder_each(tmp_path: Path) -> None:
    folders = [claim_sweep(tmp_path / "sweeps" / "noon", named=False) for _ in range(2)]
    assert [folder.name for folder in folders] == ["noon", "noon-2"]
    with pytest.raises(UserError, match="already holds a sweep"):
        claim_sweep(tmp_path / "sweeps" / "noon", named=True)


@pytest.mark.parametrize("name", ["split.csv", "metrics.json", "config.yaml"])
@pytest.mark.parametrize("content", ["", "[1]", "{", "path\n1\n", "\x00", '{"test": {"n": 1}}', "[" * 100000])
def test_a_damaged_file_of_a_run_is_one_line(
    name: str, content: str, train: Train, call: Callable[..., int], capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    whole = tmp_path_factory.getbasetemp() / "whole"
    if not whole.exists():
        shutil.copytree(train(*SMALL)[1], whole)
    run = Path("damaged")
    shutil.copytree(whole, run)
    (run / name).write_text(content)
    capsys.readouterr()
    code = call(evaluate_command.main, f"run={run}")
    errors = capsys.readouterr().err.splitlines()
    assert code == 2 or name == "metrics.json"
    assert [line for line in errors if line.startswith("error: ")] == errors
    assert len(errors) <= 1


def test_a_day_of_rejects_can_be_evaluated(
    train: Train, call: Callable[..., int], photo_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only Incorrect/: the escape rate alone, as from a table of the same photos."""
    _, run, _ = train(*SMALL[1:], f"data.root={photo_root}")
    shutil.rmtree(photo_root / "Correct")
    lines = [f"{path},Incorrect" for path in sorted((photo_root / "Incorrect").iterdir())]
    Path("table.csv").write_text("\n".join(["path,label", *lines]))
    found = []
    for name, source in (("folder", f"data.root={photo_root}"), ("table", "data.manifest=table.csv")):
        assert call(evaluate_command.main, f"run={run}", source, f"name={name}") == 0, capsys.readouterr()
        found.append(json.loads((run / "evaluations" / name / "metrics.json").read_text())["test"])
    assert found[0] == found[1]
    assert found[0]["n"] == 20
    assert found[0]["overkill_rate"]["value"] is None
