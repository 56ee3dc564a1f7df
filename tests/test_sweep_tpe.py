"""`sweep=tpe`: the proposed points, without training; and one small search."""

import importlib.util
import json
import math
import random
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from qc_lightning.config import SweepConfig
from qc_lightning.sweep import tpe
from qc_lightning.sweep.points import Values, space

pytest.importorskip("optuna")

Train = Callable[..., tuple[int, Path, str]]
RANGES = ("optim.lr=tag(log,interval(1e-5,1e-1))", "model.dropout=interval(0.0,0.9)", "data.batch_size=8,16,32")


def swept(*arguments: str) -> dict[str, Values]:
    settings = SweepConfig(
        sampler="tpe", params={}, trials=30, seed=0, objective="val_auroc", retrain=False, resume=None
    )
    return dict(space(arguments, settings).swept)


def quality(point: dict[str, str]) -> float:
    """Best score, 0, at a learning rate of 1e-3 without dropout."""
    return -abs(math.log10(float(point["optim.lr"])) + 3) - float(point["model.dropout"])


def search(trials: int, seed: int, at_once: int = 1, sign: int = 1) -> list[tuple[dict[str, str], float | None]]:
    tried: list[tuple[dict[str, str], float | None]] = []
    while len(tried) < trials:
        for point in tpe.propose(swept(*RANGES), tried, sign < 0, at_once, seed):
            tried.append((point, sign * quality(point)))
    return tried


@pytest.mark.parametrize("sign", [1, -1])
def test_it_finds_better_points_than_chance(sign: int) -> None:
    dice = random.Random(0)
    space = swept(*RANGES)
    by_chance, found = [], []
    for seed in range(5):
        by_chance.append(max(quality({key: of.draw(dice) for key, of in space.items()}) for _ in range(40)))
        found.append(max(sign * (score or 0) for _, score in search(40, seed, sign=sign)))
    assert statistics.median(found) > statistics.median(by_chance)
    # and it learns: the later half is closer than the random beginning
    tried = [sign * (score or 0) for _, score in search(40, 0, sign=sign)]
    assert statistics.median(tried[20:]) > statistics.median(tried[:10])


def test_points_stay_inside_their_ranges() -> None:
    for point, _ in search(60, seed=1, at_once=7):
        assert 1e-5 <= float(point["optim.lr"]) < 1e-1
        assert 0.0 <= float(point["model.dropout"]) < 0.9
        assert point["data.batch_size"] in ("8", "16", "32")
    whole = swept("trainer.max_epochs=int(interval(2,5))")
    seen = [point["trainer.max_epochs"] for point in tpe.propose(whole, [], False, 3, seed=0)]
    assert sorted(seen) == ["2", "3", "4"], "each once, the end left out"


def test_a_search_follows_from_its_seed_and_goes_on_where_it_stopped() -> None:
    whole = search(24, seed=3)
    assert search(24, seed=3) == whole
    assert search(24, seed=4) != whole
    tried, rest = whole[:15], []
    for _ in range(9):
        (point,) = tpe.propose(swept(*RANGES), [*tried, *rest], False, 1, seed=3)
        rest.append((point, quality(point)))
    assert rest == whole[15:]


def test_failed_points_are_not_tried_again_and_do_not_stop_it() -> None:
    space = swept("data.batch_size=8,16,32")
    tried: list[tuple[dict[str, str], float | None]] = [({"data.batch_size": "8"}, None)]
    for _ in range(2):
        (point,) = tpe.propose(space, tried, False, 1, seed=0)
        tried.append((point, 0.5))
    assert {point["data.batch_size"] for point, _ in tried} == {"8", "16", "32"}
    assert tpe.propose(space, tried, False, 2, seed=0) == [], "all have been tried"


def test_without_optuna_one_line_says_what_to_install(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpe, "find_spec", lambda name: None if name == "optuna" else importlib.util.find_spec(name))
    code, _, output = train("sweep=tpe", "hydra.sweep.dir=sweep", "-m")
    assert code == 2
    assert 'error: sweep=tpe needs optuna: pip install "qc-lightning[tpe]"' in output
    assert not Path("sweep").exists()


def test_a_search_from_the_command_line(train: Train, photo_root: Path) -> None:
    small = ["data=folder", f"data.root={photo_root}", "data.image_size=8", "model.hidden=[4]", "trainer.max_epochs=1"]
    command = ["sweep=tpe", *small, "data.batch_size=8,32", "optim.lr=tag(log,interval(1e-4,1e-1))"]
    code, _, output = train(*command, "sweep.trials=4", "hydra.sweep.dir=sweep", "-m")
    assert code == 0, output
    plan = json.loads(Path("sweep/sweep.json").read_text())
    assert plan["total"] == len(plan["jobs"]) == 4
    assert "[4/4] job 3" in output
    assert len(Path("sweep/sweep.csv").read_text().splitlines()) == 5
    # stopped after two jobs, it continues with the same points as without the stop
    asked = plan["jobs"]
    Path("sweep/sweep.json").write_text(json.dumps(plan | {"jobs": asked[:2]}))
    for number in (2, 3):
        shutil.rmtree(f"sweep/{number}")
    before = Path("sweep/1/job.json").stat().st_mtime_ns
    code, _, output = train(*command, "sweep.trials=4", "sweep.resume=sweep", "-m")
    assert code == 0, output
    assert Path("sweep/1/job.json").stat().st_mtime_ns == before
    assert json.loads(Path("sweep/sweep.json").read_text())["jobs"] == asked
    code, _, output = train(*command, "sweep.trials=5", "sweep.resume=sweep", "-m")
    assert code == 2
    assert "give the same command" in output
    code, _, output = train("sweep=tpe", "optim.lr=interval(-1,1)", "hydra.sweep.dir=other", "-m")
    assert code == 2
    assert "optim.lr: expected a step size above 0" in output
