"""The warning about a batch unlike the training photos, although each photo may be below the novelty limit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import save_photo
from qc_lightning import evaluate, predict
from qc_lightning.core.atomic import write_json
from qc_lightning.core.run import Run
from qc_lightning.metrics.batch import batch_limit, unlike_training


def test_the_limit_is_the_quantile_of_the_groups_medians() -> None:
    draw = np.random.default_rng(0)
    distances = draw.gamma(3.0, size=(100, 5))
    groups = [f"g{number}" for number in range(100) for _ in range(5)]
    assert batch_limit(distances.ravel(), groups) == pytest.approx(np.quantile(np.median(distances, 1), 0.97))
    assert batch_limit(distances[:19].ravel(), groups[:95]) is None, "of 19 groups nobody knows a 97% quantile"


def test_twenty_photos_above_it_are_warned_of(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert unlike_training(run, [9.0] * 50) == "", "no metrics.json"
    write_json(run.metrics, {"novelty": {"batch_limit": 2.0}})
    assert unlike_training(run, [2.1] * 20).startswith("These 20 photos are, taken together, unlike")
    assert unlike_training(run, [2.1] * 19) == ""
    assert unlike_training(run, [1.9] * 11 + [50.0] * 9) == "", "a few odd photos are no batch"
    assert unlike_training(run, [None] * 30) == ""
    write_json(run.metrics, {"novelty": None})
    assert unlike_training(run, [9.0] * 50) == ""


def test_photos_of_another_look_are_warned_of_at_the_command_line(
    photo_root: Path,
    tmp_path: Path,
    train: Callable[..., tuple[int, Path, str]],
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, run, _ = train(f"data.root={photo_root}", "data.image_size=16", "trainer.max_epochs=1", "report=false")
    assert code == 0
    for seed in range(20):
        alike = save_photo(tmp_path / "alike/Correct" / f"{seed}.png", bright=False, seed=300 + seed)
        pixels = np.asarray(Image.open(alike))
        (tmp_path / "other/Correct").mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - pixels).save(tmp_path / "other/Correct" / f"{seed}.png")
    for folder, warned in (("alike", False), ("other", True)):
        for command, source in ((evaluate, "data.root"), (predict, "source")):
            name = [f"name={folder}"] if command is evaluate else [f"output={folder}.csv"]
            call(command.main, f"run={run}", f"{source}={tmp_path / folder}", *name)
            assert ("taken together, unlike the training photos" in "".join(capsys.readouterr())) == warned
