"""The package from Python: its imports, and the same behaviour as the commands."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import qc_lightning
from qc_lightning.core.errors import UserError


def run_python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_names_of_the_package() -> None:
    assert set(qc_lightning.__all__) <= set(dir(qc_lightning))
    assert qc_lightning.__version__.count(".") == 2
    for name in qc_lightning.__all__:
        assert getattr(qc_lightning, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        qc_lightning.fitt  # noqa: B018


HEAVY = ("torch", "hydra", "omegaconf", "lightning", "torchmetrics", "matplotlib", "scipy", "torchvision", "sklearn")
COUNT = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"


def test_importing_the_package_loads_nothing() -> None:
    assert run_python(f"import qc_lightning; {COUNT}") == "[]"


def test_an_inspection_loads_torch_alone(run_folder: Path) -> None:
    code = f"""
import sys, numpy
from qc_lightning import Inspector
print(Inspector.load(sys.argv[1], "cpu")(numpy.zeros((20, 30, 3), numpy.uint8)).verdict)
{COUNT}
"""
    assert run_python(code, run_folder).splitlines() == ["PASS", "['torch']"]


def test_fit_and_evaluate_do_what_the_commands_do(
    photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., tuple[int, Path, str]]
) -> None:
    work = tmp_path / "elsewhere"
    work.mkdir()
    monkeypatch.chdir(work)
    small = ("trainer.max_epochs=3", "data.image_size=16", "trainer.enable_progress_bar=false")
    run = qc_lightning.fit(photo_root, *small, model="mlp", report=False, **{"optim.lr": 0.01})
    assert run.folder.parent.parent == work / "outputs"
    figures = json.loads(run.metrics.read_text())
    code, typed, _ = train(
        "data=folder", f"data.root={photo_root}", *small, "model=mlp", "report=false", "optim.lr=0.01"
    )
    assert code == 0
    by_command = json.loads((typed / "metrics.json").read_text())
    assert figures["test"] == by_command["test"]
    assert figures["model_id"] == by_command["model_id"]
    assert qc_lightning.evaluate_run(run)["test"] == figures["test"]
    everything = qc_lightning.evaluate_run(str(run.folder), photo_root)
    assert any("were used to train" in warning for warning in everything["warnings"])
    assert qc_lightning.Inspector.load(run)(photo_root / "Correct" / "c00.png").model_id == figures["model_id"]


def test_mistakes_are_one_line(photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for settings, error in (
        ({"optim.lr": -1}, "optim.lr: expected a step size above 0"),
        ({"optim.lt": 1}, "optim.lr"),
        ({"data": "parts"}, "leave out data=parts"),
    ):
        with pytest.raises(UserError, match=error):
            qc_lightning.fit(photo_root, **settings)
    assert not (tmp_path / "outputs").exists()


def test_the_examples_of_the_page_run(photo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[1] / "docs" / "python.md"
    monkeypatch.chdir(photo_root.parent)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(page), "exec"), names)
