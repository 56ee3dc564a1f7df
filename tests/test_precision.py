"""Float32 on a GPU: cuDNN's TF32 is off before anything is scored."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qc_lightning.core.atomic import write_json
from qc_lightning.core.run import Run
from qc_lightning.evaluation.evaluate_run import same_as_trained
from qc_lightning.inference.inspector import Inspector


@pytest.fixture(autouse=True)
def _tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default


def test_a_loaded_inspector_computes_in_float32(run_folder: Path) -> None:
    Inspector.load(Run(run_folder), "cpu")
    assert not torch.backends.cudnn.allow_tf32


def test_a_training_computes_in_float32(train: Callable[..., tuple[int, Path, str]], photo_root: Path) -> None:
    few = ("data.image_size=16", "model.hidden=[4]", "trainer.max_epochs=1", "report=false")
    code, _, output = train("data=folder", f"data.root={photo_root}", *few)
    assert code == 0, output
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("loss", "words"),
    [(0.5, "to the last digit"), (0.5000004, "up to rounding, by 4e-07"), (0.52, "differ from those of the training")],
)
def test_a_gap_of_rounding_is_no_reason_to_doubt_the_device(tmp_path: Path, loss: float, words: str) -> None:
    def measured(value: float) -> dict[str, object]:
        return {"test": {"n": 12, "loss": {"value": value, "low": 0.4, "high": 0.6}}}

    run = Run(tmp_path)
    write_json(run.metrics, measured(0.5))
    assert words in same_as_trained(run, measured(loss), "test")
