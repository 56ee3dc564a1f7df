"""What runs on a CUDA GPU: every recipe, mixed precision, and the commands on such a run."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qc_lightning import audit, evaluate, explain, export, latency, predict, robustness
from qc_lightning.core.run import Run
from qc_lightning.inference.inspector import Inspector

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

Train = Callable[..., tuple[int, Path, str]]
RECIPES = {
    "paper": ("optim.lr=1e-2", "data.image_size=16", "model.hidden=[16]", "augment=none", "model.dropout=0"),
    "scratch": ("model=mobilenet_v2", "model.mode=scratch", "data.image_size=64", "trainer.max_epochs=2"),
    "recommended": ("experiment=recommended", "data.image_size=64"),
    "perceptron": ("experiment=recommended", "data.image_size=64", "model.hidden=[16]"),
    "thorough": ("experiment=thorough", "data.image_size=64", "trainer.max_epochs=2"),
    "finetune": ("experiment=finetune", "data.image_size=64", "trainer.max_epochs=2"),
}


@pytest.fixture
def own(photo_root: Path) -> list[str]:
    return ["data=folder", f"data.root={photo_root}", "data.batch_size=8", "report=false", "trainer=gpu"]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # float16's scaler skips a step
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("recipe", ["paper", "thorough"])
def test_mixed_precision_trains(train: Train, own: list[str], recipe: str, precision: str) -> None:
    code, run, output = train(*own, *RECIPES[recipe], f"trainer.precision={precision}")
    assert code == 0, output
    assert json.loads((run / "metrics.json").read_text())["test"]["auroc"]["value"] == 1.0


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_of_a_gpu_gives_the_same_verdicts_on_a_cpu(train: Train, own: list[str], recipe: str) -> None:
    code, run, output = train(*own, *RECIPES[recipe])
    assert code == 0, output
    for device in ("cpu", "cuda"):
        found = Inspector.load(Run(run), device)([row["path"] for row in rows(run)])
        expected = [float(row["probability"]) for row in rows(run)]
        assert [one.probability for one in found] == pytest.approx(expected, abs=1e-3), device
        assert [one.verdict for one in found] == [row["verdict"] for row in rows(run)], device


@pytest.mark.parametrize("recipe", ["paper", "recommended", "thorough"])
def test_two_runs_on_a_gpu_are_equal(train: Train, own: list[str], recipe: str) -> None:
    first, second = (train(*own, *RECIPES[recipe], "data.cache=off", "trainer.deterministic=true") for _ in range(2))
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert rows(first[1]) == rows(second[1])


@pytest.mark.parametrize("recipe", ["paper", "recommended"])
def test_the_commands_work_on_a_run_of_a_gpu(
    train: Train,
    own: list[str],
    recipe: str,
    call: Callable[..., int],
    photo_root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, run, output = train(*own, *RECIPES[recipe])
    assert code == 0, output
    for command, arguments in {
        evaluate: ["device=cuda", "subset=test", "name=again"],
        explain: ["device=cuda", "photos=4", "compare=true"],
        robustness: ["device=cuda", "photos=6"],
        latency: ["device=cuda", "seconds=0.1"],
        predict: ["device=cuda", f"source={photo_root}", "overlays=true"],
        export: [],
    }.items():
        assert call(command.main, f"run={run}", *arguments) == 0, capsys.readouterr().err
    assert "the metrics equal those of the training" in capsys.readouterr().out, "to the last digit, or up to rounding"
    assert (run / "export" / "inspector.onnx").is_file()


def test_an_audit_computes_features_on_a_gpu(call: Callable[..., int], photo_root: Path, tmp_path: Path) -> None:
    words = (f"data.root={photo_root}", "data.image_size=64", f"output={tmp_path / 'audit'}")
    assert call(audit.main, *words) == 0


def test_more_devices_than_there_are_is_one_line(train: Train, own: list[str]) -> None:
    code, _, output = train(*own, "trainer=ddp", f"trainer.devices={torch.cuda.device_count() + 1}")
    assert code == 2
    assert output.strip().splitlines()[-1].startswith("error: trainer: "), output
