"""Edited files of a run: one line that names the file, never a traceback."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bad_run_files
from qc_lightning.core import release
from qc_lightning.core.errors import UserError, reading
from qc_lightning.core.run import Run
from qc_lightning.evaluation.evaluation_set import split_photos
from qc_lightning.inference.checkpoint import saved_decision
from qc_lightning.inference.golden import Golden
from qc_lightning.inference.inspector import Inspector
from qc_lightning.models.novelty import Novelty
from qc_lightning.sweep.folder import Record, Sweep

Train = Callable[..., tuple[int, Path, str]]
SMALL = ("data.count=24", "data.image_size=16", "model.hidden=[16]", "trainer=cpu", "report=false")


def put(content: Any, way: tuple[Any, ...], value: object) -> None:
    """Replace a node of nested containers."""
    *above, last = way
    for key in above:
        content = content[key]
    content[last] = value


def edited(run: Path, checkpoint: str, way: tuple[Any, ...], value: object, copy: Path) -> Path:
    """A copy of a run with a node of a checkpoint replaced."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    file = copy / "checkpoints" / checkpoint
    content = torch.load(file, weights_only=True)
    put(content, way, value)
    torch.save(content, file)
    return copy


LAST: list[tuple[tuple[Any, ...], object]] = [
    (("epoch",), torch.zeros(2)),
    (("epoch",), None),
    (("callbacks", "Checkpoints", "best_epoch"), "0"),
    (("callbacks", "Checkpoints", "best_loss"), []),
    (("callbacks", "History", "rows"), "rows"),
    (("callbacks", "History", "rows"), [{"epoch": torch.zeros(3)}]),
    (("callbacks",), 5),
    (("optimizer_states",), [1]),
    (("optimizer_states", 0, "state"), {0: {"step": "x"}}),
    (("optimizer_states", 0, "state", 0, "exp_avg"), torch.zeros(2, 2, dtype=torch.int64)),  # crashed the process
    (("optimizer_states", 0, "state", 1, "exp_avg_sq"), torch.zeros(0)),
    (("optimizer_states", 0, "state", 1, "step"), torch.zeros(0)),
    (("optimizer_states", 0, "param_groups"), [{}]),
    (("loops",), {"fit_loop": None}),
    (("loops", "fit_loop", "epoch_progress", "total", "processed"), ""),  # found when the epoch was over
    (("loops", "fit_loop", "epoch_loop.state_dict", "_batches_that_stepped"), None),
    (("loops", "fit_loop", "epoch_progress", "current", "ready"), {}),
    (("hyper_parameters",), {"model": None}),
    (("hyper_parameters", "model", "pool"), torch.zeros(2, 2)),  # of several lines
    (("hyper_parameters", "model", "hidden"), torch.zeros(2)),
    (("state_dict",), {"network.layers.1.weight": None}),
]


def test_a_last_checkpoint_that_was_edited(train: Train, tmp_path: Path) -> None:
    code, run, out = train(*SMALL, "trainer.max_epochs=1")
    assert code == 0, out
    for way, value in LAST:
        copy = edited(run, "last.ckpt", way, value, tmp_path / "copy")
        code, _, out = train(f"resume={copy}", "trainer.max_epochs=2", folder=copy)
        assert code == 2, (way, value, out)
        error = next(line for line in out.splitlines() if line.startswith("error: "))
        assert "last.ckpt" in error or "expected model." in error, (way, value, out)


BEST: list[tuple[tuple[Any, ...], object]] = [
    (("state_dict",), torch.zeros(2)),
    (("state_dict",), {"network.layers.1.weight": 1}),
    (("callbacks",), 5),
    (("callbacks", "Checkpoints"), {}),
    (("loops",), None),
    (("hyper_parameters",), 1),
]


def test_a_best_checkpoint_that_was_edited_before_the_training_is_continued(train: Train, tmp_path: Path) -> None:
    """No new epoch is the best: at the end the existing checkpoint is read."""
    code, run, out = train(*SMALL, "trainer.max_epochs=1")
    assert code == 0, out
    for way, value in BEST:
        copy = edited(run, "best.ckpt", way, value, tmp_path / "copy")
        code, _, out = train(f"resume={copy}", "trainer.max_epochs=1", folder=copy)
        assert code in (0, 2), (way, value, out)
        assert code == 0 or "best.ckpt" in out, (way, value, out)
        assert code == 2 or way[0] != "state_dict"


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("inspector",), None),
        (("inspector", "class_names"), ["a", "b", "c"]),
        (("inspector", "class_names"), 1),
        (("inspector", "decision"), "0.5"),
        (("inspector", "decode"), {"side": 16}),
        (("inspector", "decode", "height"), "16"),
        (("inspector", "novelty"), {"mean": 1}),
        (("inspector", "novelty"), {**Novelty(48, 2).state_dict(), "order": torch.full((48,), 99)}),
        (("state_dict",), ["network"]),
        (("hyper_parameters", "model"), {"name": "mlp"}),
        (("hyper_parameters", "model", "hidden"), None),
    ],
)
def test_a_best_checkpoint_that_was_edited(
    run_folder: Path, tmp_path: Path, way: tuple[Any, ...], value: object
) -> None:
    content = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)
    put(content, way, value)
    path = tmp_path / "best.ckpt"
    torch.save(content, path)
    with pytest.raises(UserError, match=r"best.ckpt") as caught:
        Inspector.load(path, "cpu")
    assert "\n" not in str(caught.value)
    if way in [("inspector",), ("inspector", "decision")]:
        with pytest.raises(UserError, match=r"best.ckpt|decision"):
            saved_decision(path)


@pytest.mark.parametrize(
    ("key", "value"), [("run", 1.5), ("decision", "1"), ("certified", None), ("former", [{}]), ("digest", [])]
)
def test_a_release_that_was_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object) -> None:
    monkeypatch.chdir(tmp_path)
    path = release.Release("press", "run", "m", 1, "d", False, "me", "now", "").write()
    assert release.read("press").run == "run"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=r"press.json is damaged"):
        release.read("press")
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"press.json is damaged"):
        release.read("press")


def test_a_split_with_other_subsets(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("path,label,group,subset,sha256\na.png,Correct,a,later,\n")
    with pytest.raises(UserError, match=r"split.csv is damaged \(subset 'later'\)"):
        split_photos(Run(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        [], {"jobs": 1}, {"jobs": [1]}, {"jobs": [{"number": "0"}]}, {"fixed": 1}, {"total": []}, {"command": None},
        {"jobs": [{"number": n, "point": {f"optim.{n}": "1"}, "repeat": {}} for n in (0, 1)]},
        {"jobs": [{"number": n, "point": {}, "repeat": {"seed": "1"} if n else {}} for n in (0, 1)]},
    ],
)  # fmt: skip
def test_a_plan_of_a_sweep_that_was_edited(tmp_path: Path, content: object) -> None:
    whole = {"command": [], "objective": "val_loss", "fixed": [], "jobs": [], "total": 0}
    (tmp_path / "sweep.json").write_text(json.dumps({**whole, **content} if isinstance(content, dict) else content))
    with pytest.raises(UserError, match=r"expected a sweep's folder"):
        Sweep.open(str(tmp_path), "run")


@pytest.mark.parametrize(
    "content", [[], {"status": 1}, {"val": 1}, {"val": {"auroc": {"value": 0.5}}}, {"seconds": None}]
)
def test_a_record_of_a_job_that_was_edited(tmp_path: Path, content: object) -> None:
    whole = {"status": "finished", "seconds": 1.0}
    (tmp_path / "job.json").write_text(json.dumps({**whole, **content} if isinstance(content, dict) else content))
    record = Record.read(tmp_path)
    assert record is not None
    assert (record.status, "job.json is damaged" in record.message) == ("failed", True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("logit", [0.5]), ("logit", [[0.5], [0.5]]), ("logit", ["x", "y"]), ("png", []), ("png", ["AAAA", "AAAA"])],
)
def test_golden_inputs_that_were_edited(key: str, value: object) -> None:
    whole = Golden(np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.float32)).to_dict()
    assert Golden.from_dict(whole).pixels.shape == (2, 3, 4, 4)
    with pytest.raises(UserError, match=r"^f.onnx is damaged"), reading("f.onnx"):
        Golden.from_dict({**whole, key: value})


@pytest.mark.slow
def test_no_broken_file_ends_in_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make torture` tries twenty thousand."""
    monkeypatch.setenv("QC_LIGHTNING_CACHE", str(tmp_path / "cache"))
    seen = bad_run_files.fuzz(tmp_path / "scratch", seed=4, count=60)
    assert seen["faults"] == 0, seen
