"""`python -m qc_lightning.train -m ...` from command line to winner."""

import csv
import gc
import importlib.util
import json
import math
import shlex
import shutil
import statistics
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from qc_lightning import sweep_report

Train = Callable[..., tuple[int, Path, str]]
SMALL = ("data.image_size=16", "model.hidden=[16]", "data.batch_size=8", "trainer.max_epochs=2", "data.split.val=0.3")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def figures(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text()))


@pytest.fixture
def photos(photo_root: Path) -> list[str]:
    return ["data=folder", f"data.root={photo_root}", *SMALL]


@pytest.fixture
def sweep(train: Train, photos: list[str], tmp_path: Path) -> Callable[..., tuple[int, Path, str]]:
    """Run a sweep of the small photos: exit code, the sweep's folder, output."""

    def call(*arguments: str) -> tuple[int, Path, str]:
        code, _, output = train(*photos, *arguments, "-m")
        folders = sorted((tmp_path / "work").glob("outputs/sweeps/*/*/sweep.json"), key=lambda p: p.stat().st_mtime)
        return code, folders[-1].parent if folders else tmp_path / "none", output

    return call


def test_a_grid_from_call_to_winner(sweep: Train, train: Train) -> None:
    given = ("optim.lr=1e-2,1e-3,1e-4,1e-5,1e-6", "data.batch_size=4,8", "trainer.max_epochs=2")
    code, folder, output = sweep("sweep=grid", *given)
    assert code == 0, output
    table = rows(folder / "sweep.csv")
    assert len(table) == 10
    values = {int(row["job"]): figures(folder / row["job"])["val"]["auroc"]["value"] for row in table}
    assert {int(row["job"]): float(row["val_auroc"]) for row in table} == values
    winner = folder / table[0]["job"]
    assert float(table[0]["mean"]) == max(values.values())

    for number in values:
        assert "test" not in figures(folder / str(number)), "the test part is not even scored"
        assert not (folder / str(number) / "predictions.csv").exists()
        assert (folder / str(number) / "report.html").exists() == (folder / str(number) == winner)
    assert "[10/10]" in output
    assert "best so far: val_auroc" in output

    command = next(line for line in output.splitlines() if line.startswith("winner: ")).removeprefix("winner: ")
    assert f"'{chr(34)}'{chr(34)}'" not in command, "a plain path needs no quotes within quotes"
    page = (folder / "sweep.html").read_text()
    assert command.split("optim.lr")[1] in page
    code, run, told = train(*shlex.split(command)[3:], "report=false")
    assert code == 0, told
    assert figures(run)["val"] == figures(winner)["val"], "the winner's command gives the winner's figures"
    assert figures(run)["test"]["n"] == 12

    # alone, and as the tenth job of one process: the same to the last bit
    tenth = {**{row["job"]: row for row in table}["9"]}
    _, alone, _ = train(
        *shlex.split(command)[3:], f"optim.lr={tenth['optim.lr']}", f"data.batch_size={tenth['data.batch_size']}"
    )
    for subset in ("train", "val"):
        assert figures(alone)[subset] == figures(folder / "9")[subset]
    assert (alone / "history.csv").read_bytes() == (folder / "9" / "history.csv").read_bytes()


@pytest.mark.slow
def test_what_a_job_changes_in_its_process_does_not_reach_the_next(sweep: Train) -> None:
    import torch

    torch.use_deterministic_algorithms(False)  # whatever was trained in this process before
    code, folder, output = sweep("trainer.deterministic=true,null", "report=true")
    assert code == 0, output
    assert not torch.are_deterministic_algorithms_enabled()
    assert all((folder / number / "report.html").is_file() for number in "01"), "asked for"


def test_a_job_that_fails_is_recorded_and_the_others_go_on(sweep: Train) -> None:
    code, folder, output = sweep(
        "report=false", "model.hidden=[16],[10000000000000],[8]", "trainer.precision=32-true,17"
    )
    assert code == 3, output
    table = {row["job"]: row for row in rows(folder / "sweep.csv")}
    assert [table[str(number)]["status"] for number in range(6)] == ["finished", *3 * ["failed"], "finished", "failed"]
    assert "memory" in table["2"]["message"]
    assert "trainer: " in table["1"]["message"]
    assert "17" in table["1"]["message"]
    assert "\n" not in table["2"]["message"]
    assert "WARNING: job 2 failed: " in output
    assert "Traceback" in (folder / "2" / "output.txt").read_text()
    assert "Failed jobs" in (folder / "sweep.html").read_text()


def test_when_all_jobs_fail_the_command_fails(sweep: Train) -> None:
    code, folder, output = sweep("trainer.precision=17,18")
    assert code == 2
    assert "error: all 2 jobs failed; the first: trainer: " in output
    assert len(rows(folder / "sweep.csv")) == 2


def test_a_sweep_is_resumed(sweep: Train) -> None:
    given = ("report=false", "optim.lr=1e-2,1e-3,1e-4", "model.hidden=[16],[8]")
    _, folder, _ = sweep(*given)
    whole = rows(folder / "sweep.csv")
    # as after a kill: one job half done, one not started, one failed
    (folder / "1" / "job.json").unlink()
    (folder / "1" / "metrics.json").unlink()
    (folder / "1" / "leftover").touch()
    shutil.rmtree(folder / "4")
    (folder / "5" / "job.json").write_text('{"status": "failed", "seconds": 1.0, "message": "no space left"}')
    kept = {number: (folder / str(number) / "metrics.json").stat().st_mtime_ns for number in (0, 2, 3)}

    code, same, output = sweep(*given, f"sweep.resume={folder}")
    assert (code, same) == (0, folder), output
    assert {number: (folder / str(number) / "metrics.json").stat().st_mtime_ns for number in kept} == kept
    assert not (folder / "1" / "leftover").exists()
    again = rows(folder / "sweep.csv")
    for row in whole + again:
        del row["seconds"], row["folder"]
    assert again == whole, "it ends where an unbroken sweep ends"
    assert "3 of them already there" in output
    assert "[6/6]" in output
    assert len(list(folder.parent.iterdir())) == 1, "no folder beside it"

    code, _, output = sweep("optim.lr=1e-2,1e-5", "sweep.resume=latest")
    assert code == 2
    assert "was begun with" in output
    assert "give the same command" in output
    code, _, output = sweep(*given, "sweep.resume=nowhere")
    assert code == 2
    assert "error: sweep.resume: expected a sweep's folder" in output


@pytest.mark.slow
def test_folds_give_mean_and_spread(sweep: Train) -> None:
    code, folder, output = sweep(
        "sweep=folds", "data.split.fold=range(4)", "data.split.folds=4", "report=false", "optim.lr=1e-2,1e-6"
    )
    assert code == 0, output
    table = rows(folder / "sweep.csv")
    assert len(table) == 8
    means: dict[str, float] = {}
    for rate in ("0.01", "1e-06"):
        of = [row for row in table if row["optim.lr"] == rate]
        values = [figures(folder / row["job"])["val"]["auroc"]["value"] for row in of]
        assert float(of[0]["mean"]) == pytest.approx(statistics.mean(values))
        assert float(of[0]["spread"]) == pytest.approx(statistics.stdev(values))
        assert len({row["rank"] for row in of}) == 1
        means[rate] = statistics.mean(values)
    test = [{row["path"] for row in rows(folder / n / "split.csv") if row["subset"] == "test"} for n in "0123"]
    assert test[0] == test[1] == test[2] == test[3]
    best = [float(row["val_auroc"]) for row in table if row["rank"] == "1"]
    scale = math.sqrt((1 / 4 + 1 / 3) * statistics.variance(best))
    low, high = stats.t.interval(0.95, 3, loc=statistics.mean(best), scale=scale) if scale else (best[0], best[0])
    said = f"{statistics.mean(best):.3f} ({max(0.0, low):.3f} to {min(1.0, high):.3f})"
    assert f"{'AUROC':18} {said}" in output
    assert said in (folder / "sweep.html").read_text()
    command = next(line for line in output.splitlines() if line.startswith("winner: "))
    assert means[table[0]["optim.lr"]] == max(means.values())
    assert command.endswith(f"data.split.folds=4 optim.lr={table[0]['optim.lr']}"), "as itself"


@pytest.mark.slow
def test_the_winner_is_trained_on_train_and_val_and_tested_once(sweep: Train) -> None:
    given = ("sweep=grid", "optim.lr=1e-2,1e-6", "data.batch_size=8", "trainer.max_epochs=3", "decision.rule=balanced")
    code, folder, output = sweep(*given, "sweep.retrain=true")
    assert code == 0, output
    winner = folder / rows(folder / "sweep.csv")[0]["job"]
    subsets = {row["path"]: row["subset"] for row in rows(winner / "split.csv")}
    again = {row["path"]: row["subset"] for row in rows(folder / "winner" / "split.csv")}
    assert again == {path: "test" if of == "test" else "train" for path, of in subsets.items()}
    assert figures(folder / "winner")["test"]["n"] == 12
    assert (folder / "winner" / "report.html").is_file()
    assert figures(folder / "winner")["threshold"] == figures(winner)["threshold"], "as validation decided"
    losses = [float(row["val_loss"]) for row in rows(winner / "history.csv")]
    assert len(rows(folder / "winner" / "history.csv")) == losses.index(min(losses)) + 1
    assert "winner trained on train and val, tested" in output

    tested = (folder / "winner" / "metrics.json").stat().st_mtime_ns
    code, _, _ = sweep(*given, "sweep.retrain=true", f"sweep.resume={folder}")
    assert code == 0
    assert (folder / "winner" / "metrics.json").stat().st_mtime_ns == tested, "once"


@pytest.mark.slow
def test_photos_are_decoded_once(sweep: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from qc_lightning.data.pixels import pixel_store as store

    opened = []
    real = store.read
    monkeypatch.setattr(store, "read", lambda *given: opened.append(given) or real(*given))
    code, _, output = sweep(
        "sweep=folds", "data.split.fold=0,1,2", "data.split.folds=3", "data.cache=ram", "report=false"
    )
    assert code == 0, output
    assert len(opened) == 40


@pytest.mark.slow
def test_frozen_networks_sweep_without_the_test_part(
    sweep: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    torch.save(mobilenet_v2(weights=None).state_dict(), tmp_path / "weights.pth")
    code, folder, output = sweep(
        "sweep=grid", "model=mobilenet_v2", "model.mode=frozen", f"model.weights={tmp_path / 'weights.pth'}",
        "model.hidden=[]", "data.image_size=32", "data.split.val=0", "model.penalty=0.1,10", "optim.lr=1e-3",
        "data.batch_size=8", "trainer.max_epochs=1",
    )  # fmt: skip
    assert code == 0, output
    assert all("test" not in figures(folder / number) for number in "01")
    assert all("auroc" in figures(folder / number)["val"] for number in "01"), "out of fold"


@pytest.mark.slow
def test_a_sweep_without_a_validation_part_has_no_winner(sweep: Train) -> None:
    """Like the paper, with several seeds: every job is a complete training with a test, and there is no winner."""
    code, folder, output = sweep("report=false", "data.split.val=0", "seed=1,2")
    assert code == 0, output
    assert "WARNING: no winner: no job has a val_auroc" in output
    assert all(figures(folder / number)["test"]["n"] == 12 for number in "01")


@pytest.mark.slow
def test_sweep_report_makes_table_and_page_again(
    sweep: Train, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder, _ = sweep("report=false", "optim.lr=1e-2,1e-3")
    table = (folder / "sweep.csv").read_text()
    for name in ("sweep.csv", "sweep.html"):
        (folder / name).unlink()
    assert call(sweep_report.main) == 0
    assert (folder / "sweep.csv").read_text() == table
    assert "winner: python -m qc_lightning.train" in capsys.readouterr().out
    assert (folder / "sweep.html").is_file()
    assert call(sweep_report.main, "run=nowhere") == 2
    assert capsys.readouterr().err.startswith("error: run: expected a sweep's folder")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["sweep=gird"], "error: sweep: expected one of folds, grid, random, tpe, got 'gird' (did you mean grid?)"),
        (["sweep.objective=test_auroc"], "expected a validation figure, val_..., never one of the test part, got 'tes"),
        (["sweep.objective=val_aurc"], "error: sweep.objective: expected one of val_escape_rate, "),
        (["optim.lr=1e-3,fast"], "error: optim.lr: expected a number, got 'fast'"),
        (["model=mlp,mpl"], "error: model: expected one of"),
        (["optim.lr=1e-3,-1"], "error: optim.lr: expected a step size above 0, got -1.0"),
        (
            ["sweep=grid", "model=efficientnet_lite0", "model.mode=frozen", "model.hidden=[]"],
            "error: nothing to try in optim.lr: the linear head",
        ),
        (
            ["model.penalty=0.1,1"],
            "error: nothing to try in model.penalty: the paper's network has none of it; give each",
        ),
        (["sweep=grid", "optim.lr=interval(1e-5,1e-3)"], "error: optim.lr: expected a list of values for a grid"),
    ],
)
def test_mistakes_are_found_before_any_work(sweep: Train, tmp_path: Path, arguments: list[str], line: str) -> None:
    code, folder, output = sweep(*arguments)
    assert code == 2
    assert line in output, output
    assert "Traceback" not in output
    assert not folder.exists()


def test_a_cluster_that_is_not_there(sweep: Train) -> None:
    pytest.importorskip("submitit")
    code, _, output = sweep("optim.lr=1e-3,1e-4", "hydra/launcher=slurm")
    assert code == 2
    assert "error: hydra.launcher: no job could be started: " in output
    assert "slurm" in output.lower()


def test_the_memory_of_a_failed_job_is_freed(sweep: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from qc_lightning.training import trainer
    from qc_lightning.training.classifier import Classifier

    alive: weakref.WeakSet[Classifier] = weakref.WeakSet()
    seen = []

    def fit(of: object, model: Classifier, *given: object, **named: object) -> bool:
        seen.append(len(alive))
        alive.add(model)
        object.__setattr__(model, "trainer_of", [model])  # a circle, as between Lightning's trainer and its module
        raise MemoryError("the photos do not fit")

    monkeypatch.setattr(trainer, "fit", fit)
    gc.disable()  # otherwise Python may do it in time by chance
    try:
        code, _, output = sweep("optim.lr=1e-3,1e-4,1e-5")
    finally:
        gc.enable()
    assert code == 2
    assert "all 3 jobs failed; the first: MemoryError: the photos do not fit" in output
    assert seen == [0, 0, 0], "no job finds another's network in memory"


def test_a_launcher_that_is_not_installed(sweep: Train) -> None:
    if importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is not None:
        pytest.skip("it is installed")
    for name in ("ray", "ray_cluster"):
        code, _, output = sweep("optim.lr=1e-3,1e-4", f"hydra/launcher={name}")
        assert code == 2
        assert (
            'error: hydra/launcher=ray needs a package that is not installed: pip install "qc-lightning[ray]"' in output
        )


def test_a_preset_without_multirun_is_refused(train: Train) -> None:
    code, run, output = train("sweep=random")
    assert code == 2
    assert "error: sweep=random makes many trainings: add -m" in output
    assert not run.exists()
