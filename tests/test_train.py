"""`python -m qc_lightning.train` from command line to run folder."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, roc_auc_score

from qc_lightning.config import ModelConfig, OptimConfig
from qc_lightning.training.classifier import Classifier

Train = Callable[..., tuple[int, Path, str]]
RATES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "specificity", "auroc", "average_precision")
SMALL = ("data.image_size=16", "model.hidden=[16]", "data.batch_size=8", "report=false")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def figures(run: Path) -> dict[str, object]:
    """metrics.json without the values that differ between equal runs."""
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["timing_s"]
    return dict(metrics)


@pytest.fixture
def easy(photo_root: Path) -> list[str]:
    return ["data=folder", f"data.root={photo_root}", *SMALL, "optim.lr=1e-2"]


def test_the_run_folder_keeps_its_contract(train: Train, easy: list[str], photo_root: Path) -> None:
    code, run, output = train(*easy, "report=true", "augment=none", "model.dropout=0")
    assert code == 0, output
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "split.csv", "checkpoints", "history.csv", "metrics.json", "predictions.csv", "decision.json",
        "report.html", "figures", "model_card.md", "validation.csv",
    }  # fmt: skip
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert len(rows(run / "history.csv")) == 10
    assert list(rows(run / "history.csv")[0]) == [
        "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"
    ]  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    for subset in ("train", "val", "test"):
        for name in (*RATES, "loss", "escape_rate", "overkill_rate"):
            figure = metrics[subset][name]
            assert figure["low"] <= figure["value"] <= figure["high"]
    assert metrics["positive_class"] == "Incorrect"
    assert metrics["test"]["n"] == 12
    assert metrics["test"]["auroc"]["value"] == 1.0, "a white corner is learnt at once"
    split = rows(run / "split.csv")
    assert {row["path"] for row in split} == {str(path) for path in photo_root.rglob("*.png")}
    tested = {row["path"] for row in split if row["subset"] == "test"}
    assert {row["path"] for row in rows(run / "predictions.csv")} == tested
    assert "escape rate" in output
    assert str(run) in output


def test_figures_are_scikit_learns(train: Train, easy: list[str]) -> None:
    """metrics.json compared with another library on predictions.csv."""
    _, run, _ = train(*easy, "trainer.max_epochs=2", "optim.lr=1e-4")
    predictions = rows(run / "predictions.csv")
    label = [int(row["label"] == "Incorrect") for row in predictions]
    probability = [float(row["probability"]) for row in predictions]
    rejected = [int(row["verdict"] == "REJECT") for row in predictions]
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert test["auroc"]["value"] == pytest.approx(roc_auc_score(label, probability), abs=1e-6)
    assert test["confusion_matrix"] == confusion_matrix(label, rejected).tolist()
    assert rejected == [int(p >= 0.5) for p in probability]


def test_same_seed_same_figures(train: Train, easy: list[str]) -> None:
    first, second, other = (train(*easy, f"seed={seed}")[1] for seed in (4, 4, 5))
    assert figures(first) == figures(second)
    assert (first / "predictions.csv").read_text() == (second / "predictions.csv").read_text()
    assert figures(first) != figures(other)


def test_resume_ends_where_an_unbroken_run_ends(train: Train, easy: list[str]) -> None:
    _, whole, _ = train(*easy, "trainer.max_epochs=6", "optim.lr=1e-3")
    _, part, _ = train(*easy, "trainer.max_epochs=3", "optim.lr=1e-3")
    assert len(rows(part / "history.csv")) == 3
    code, _, output = train(f"resume={part}", "trainer.max_epochs=6", folder=part)
    assert code == 0, output
    assert (part / "history.csv").read_text() == (whole / "history.csv").read_text()
    assert (part / "predictions.csv").read_text() == (whole / "predictions.csv").read_text()


def test_resume_refuses_other_photos(train: Train, easy: list[str], photo_root: Path) -> None:
    _, run, _ = train(*easy, "trainer.max_epochs=1")
    (photo_root / "Correct" / "c00.png").unlink()
    code, _, output = train(f"resume={run}", folder=run)
    assert code == 2
    assert "the photos or the split settings are not those of" in output


def test_a_taken_folder_is_not_overwritten(train: Train, easy: list[str]) -> None:
    _, run, _ = train(*easy, "trainer.max_epochs=1")
    before = (run / "metrics.json").read_bytes()
    code, _, output = train(*easy, f"hydra.run.dir={run}", folder=run)
    assert code == 2
    assert "already holds a run" in output
    assert (run / "metrics.json").read_bytes() == before


def test_checkpoint_is_safe_and_gives_the_same_probabilities(train: Train, easy: list[str], photo_root: Path) -> None:
    _, run, _ = train(*easy)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    hparams = checkpoint["hyper_parameters"]
    model = Classifier(ModelConfig(**hparams["model"]), OptimConfig(**hparams["optim"]), tuple(hparams["shape"]))
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()
    from qc_lightning.data.decoding.decode import DecodeSettings, decode

    predictions = rows(run / "predictions.csv")
    pixels = np.stack([decode(Path(row["path"]), DecodeSettings(16, 16)) for row in predictions])
    images = torch.from_numpy(pixels).float() / 255
    expected = torch.tensor([float(row["probability"]) for row in predictions], dtype=torch.float64)
    with torch.inference_mode():
        for size in (1, 5, len(images)):
            logit = torch.cat([model(batch) for batch in images.split(size)])
            torch.testing.assert_close(torch.sigmoid(logit.double()), expected, rtol=0, atol=1e-6)


def test_paper_has_no_validation_part_and_keeps_the_last_epoch(train: Train, easy: list[str]) -> None:
    code, run, output = train(*easy, "experiment=paper", "data.image_size=16", "trainer.max_epochs=3")
    assert code == 0, output
    assert {row["subset"] for row in rows(run / "split.csv")} == {"train", "test"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert "val" not in metrics
    best, last = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert best["epoch"] == last["epoch"] == 2


def test_a_collapsed_model_is_announced(train: Train, easy: list[str]) -> None:
    _, run, output = train(*easy, "decision.threshold=1.0", "trainer.max_epochs=1")
    warning = "The model passes every one of the 12 test photos"
    assert any(warning in text for text in json.loads((run / "metrics.json").read_text())["warnings"])
    assert warning in output


def test_bad_files_are_listed_in_the_run(train: Train, easy: list[str], photo_root: Path) -> None:
    (photo_root / "Correct" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    code, run, output = train(*easy, "trainer.max_epochs=1", "data.on_bad_file=skip")
    assert code == 0, output
    assert [Path(row["path"]).name for row in rows(run / "bad_files.csv")] == ["torn.jpg"]


def test_multirun_gives_each_job_its_folder(train: Train, easy: list[str], tmp_path: Path) -> None:
    code, _, output = train(*easy, "trainer.max_epochs=1", "optim.lr=1e-3,1e-4", "data.batch_size=4,8", "-m")
    assert code == 0, output
    jobs = sorted((tmp_path / "work" / "outputs" / "sweeps").glob("*/*/*/metrics.json"))
    assert len(jobs) == 4


def test_ddp_inside_a_multirun_is_refused(train: Train, easy: list[str]) -> None:
    code, _, output = train(*easy, "trainer=ddp", "trainer.accelerator=cpu", "seed=1,2", "-m")
    assert code == 2
    assert "trainer=ddp does not work inside a multirun" in output


@pytest.mark.parametrize("imbalance", ["pos_weight", "sampler", "focal"])
def test_ten_defects_are_learnt_with_every_kind_of_weighting(
    train: Train, easy: list[str], photo_root: Path, imbalance: str
) -> None:
    for path in sorted((photo_root / "Incorrect").iterdir())[10:]:
        path.unlink()
    code, run, output = train(*easy, f"imbalance={imbalance}", "model.dropout=0", "augment=none", "optim.lr=1e-3")
    assert code == 0, output
    assert json.loads((run / "metrics.json").read_text())["test"]["auroc"]["value"] == 1.0


def test_a_torchvision_network_trains(train: Train, easy: list[str]) -> None:
    code, run, output = train(
        *easy[:2],
        "model=mobilenet_v2",
        "model.mode=scratch",
        "data.image_size=64",
        "report=false",
        "trainer.max_epochs=1",
    )
    assert code == 0, output
    assert json.loads((run / "metrics.json").read_text())["test"]["n"] == 12


def test_mixed_precision_and_clipped_gradients_go_together(train: Train, easy: list[str]) -> None:
    """As in experiment=finetune trainer.precision=bf16-mixed; Lightning refuses to clip before a fused step."""
    few = ("trainer=cpu", "trainer.max_epochs=1", "report=false")
    code, _, output = train(*easy, *few, "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=5")
    assert code == 0, output


def test_a_process_that_writes_nothing_leaves_the_checkpoints_alone(tmp_path: Path) -> None:
    """The second of two processes must not replace what the first has written, in either order."""
    from types import SimpleNamespace

    from qc_lightning.core.run import Run
    from qc_lightning.training.callbacks import Checkpoints

    run = Run(tmp_path)
    run.last.parent.mkdir()
    for path in (run.last, run.best):
        path.write_bytes(b"written by the first process")
    taken_part: list[str] = []
    second = SimpleNamespace(
        callback_metrics={}, current_epoch=0, max_epochs=1, should_stop=False, is_global_zero=False,
        max_steps=-1, global_step=1, save_checkpoint=lambda *_: taken_part.append("save"),
        strategy=SimpleNamespace(barrier=lambda: taken_part.append("barrier"), broadcast=lambda first: first),
    )  # fmt: skip
    Checkpoints(run).on_train_epoch_end(second, None)  # type: ignore[arg-type]
    assert taken_part == ["save", "barrier"], "else the first would wait for it for ever"
    kept = {path.name: path.read_bytes() for path in run.last.parent.iterdir()}
    assert kept == dict.fromkeys(("last.ckpt", "best.ckpt"), b"written by the first process")


def test_quick_epochs_are_not_all_saved_but_the_last_is(
    train: Train, easy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch import Trainer

    saved: list[int] = []
    save = Trainer.save_checkpoint
    monkeypatch.setattr(
        Trainer, "save_checkpoint", lambda self, *a, **k: (saved.append(self.current_epoch), save(self, *a, **k))
    )
    for seconds, end, expected in ((1e9, "max_epochs=4", [0, 3]), (0, "max_epochs=4", [0, 1, 2, 3])):
        monkeypatch.setattr("qc_lightning.training.callbacks._SAVE_SECONDS", seconds)
        saved.clear()
        code, _, output = train(*easy, "experiment=paper", "data.image_size=16", f"trainer.{end}")
        assert code == 0, output
        assert saved == expected
    # 28 photos are four batches an epoch: the end comes within the second epoch
    saved.clear()
    monkeypatch.setattr("qc_lightning.training.callbacks._SAVE_SECONDS", 1e9)
    code, run, output = train(*easy, "experiment=paper", "data.image_size=16", "trainer.max_steps=6")
    assert code == 0, output
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6


def test_mixup_reaches_the_training(train: Train, easy: list[str]) -> None:
    """Blended labels change the trained weights; everything else in the two runs is the same."""
    same = [*easy, "trainer.max_epochs=1", "augment=none"]
    plain, blended = (train(*same, f"augment.mixup={alpha}")[1] for alpha in (0.0, 5.0))
    assert (plain / "split.csv").read_text() == (blended / "split.csv").read_text()
    assert (plain / "history.csv").read_text() != (blended / "history.csv").read_text()
