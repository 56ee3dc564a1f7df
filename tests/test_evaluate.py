"""`python -m qc_lightning.evaluate`: the metrics of training again, other photos, and comparisons of two runs."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from conftest import save_photo
from qc_lightning import evaluate as evaluate_command
from qc_lightning import train as train_command

Evaluate = Callable[..., tuple[int, str, str]]


def command(main: Callable[[], None], *arguments: str) -> int:
    """Call a command as a user does, in this process: exit code."""
    before = sys.argv
    sys.argv = ["command", *arguments]
    GlobalHydra.instance().clear()
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of parts, two per part, some parts mislabelled; and two runs on them, `good` and `poor`."""
    place = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    for i in range(120):
        # one in twenty looks like the other class
        bright = bool((i % 2) ^ (rng.random() < 0.05))
        name = f"{('Correct', 'Incorrect')[i % 2]}/part{i:03d}"
        for side in "ab":
            save_photo(place / "photos" / f"{name}_{side}.png", bright, seed=2 * i + (side == "b"), size=16)
    data = ["data=folder", f"data.root={place / 'photos'}", "data.group=prefix", "data.image_size=16", "data.cache=ram"]
    model = ["augment=none", "model.hidden=[16]", "model.dropout=0", "data.batch_size=7"]
    rest = ["report=false", "trainer.enable_progress_bar=false", "trainer.max_epochs=5"]
    for name, lr in (("good", 3e-3), ("poor", 1e-7)):
        settings = [*model, *rest, f"optim.lr={lr}", f"hydra.run.dir={place / name}"]
        assert command(train_command.main, *data, *settings) == 0
    return place


@pytest.fixture
def evaluate(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Evaluate:
    """Call `python -m qc_lightning.evaluate ARGS`: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        run = [] if any(argument.startswith("run=") for argument in arguments) else [f"run={place / 'good'}"]
        return command(evaluate_command.main, *run, *arguments), *capsys.readouterr()

    return call


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def metrics(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "metrics.json").read_text()))


@pytest.mark.parametrize("subset", ["train", "val", "test"])
def test_the_trainings_figures_to_the_last_digit(evaluate: Evaluate, place: Path, subset: str) -> None:
    run = place / "good"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "evaluations" not in path.parts}
    code, output, _ = evaluate(f"subset={subset}", f"name={subset}")
    assert code == 0
    found = metrics(run / "evaluations" / subset)
    trained = metrics(run)
    assert found[subset] == trained[subset]
    assert found["threshold"] == trained["threshold"]
    assert found["model_id"] == trained["model_id"]
    assert "the metrics equal those of the training, to the last digit" in output
    assert "escape rate" in output
    if subset == "test":
        assert (run / "evaluations/test/predictions.csv").read_text() == (run / "predictions.csv").read_text()
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "evaluations" not in path.parts}
    assert after == before, "the run itself stays as it was"


def test_without_more_the_test_photos(evaluate: Evaluate, place: Path) -> None:
    assert evaluate()[0] == 0
    (folder,) = [path for path in (place / "good" / "evaluations").iterdir() if path.name.startswith("20")]
    assert "test" in metrics(folder)
    code, _, errors = evaluate(f"name={folder.name}")
    assert code == 2
    assert "already exists: give another name=" in errors


def test_other_photos_get_the_metrics_of_scikit_learn(evaluate: Evaluate, place: Path, tmp_path: Path) -> None:
    """Other class names, bad files and a known photo; expected metrics by hand and by scikit-learn."""
    root = tmp_path / "monday"
    for i in range(12):
        save_photo(root / "ok" / f"{i}.png", bright=i < 3, seed=1000 + i, size=16)
        save_photo(root / "defect" / f"{i}.png", bright=True, seed=2000 + i, size=16)
    (root / "ok" / "bad.png").write_bytes(b"no image")
    shutil.copy(root / "ok" / "5.png", root / "ok" / "copy.png")
    learnt = next(row for row in read(place / "good" / "split.csv") if row["subset"] == "train")
    shutil.copy(learnt["path"], root / "ok" / "learnt.png")
    code, output, _ = evaluate(
        f"data.root={root}",
        "data.classes.correct=ok",
        "data.classes.incorrect=defect",
        "data.group=none",
        "name=monday",
    )
    assert code == 3
    folder = place / "good" / "evaluations" / "monday"
    rows = read(folder / "predictions.csv")
    label = [row["path"].startswith(str(root / "defect")) for row in rows]
    rejected = [float(row["probability"]) >= 0.5 for row in rows]
    assert rejected == [row["verdict"] == "REJECT" for row in rows]
    found = metrics(folder)
    assert isinstance(found["test"], dict)
    assert found["test"]["confusion_matrix"] == confusion_matrix(label, rejected).tolist()
    assert found["test"]["n"] == 12 + 12 + 2
    assert "1 of these photos were used to train" in output
    assert "1 files could not be read" in output
    assert "is a copy of another" in output
    assert [Path(row["path"]).name for row in read(folder / "bad_files.csv")] == ["bad.png"]


def test_a_split_csv_is_a_manifest_with_the_same_metrics(evaluate: Evaluate, place: Path) -> None:
    """split.csv as a manifest: the same photos, read like a manifest."""
    tested = [row for row in read(place / "good" / "split.csv") if row["subset"] == "test"]
    lines = ["path,label,group,sha256", *(f"{r['path']},{r['label']},{r['group']},{r['sha256']}" for r in tested)]
    (place / "tested.csv").write_text("\n".join(lines) + "\n")
    assert evaluate(f"data.manifest={place / 'tested.csv'}", "name=manifest")[0] == 0
    found, trained = metrics(place / "good" / "evaluations" / "manifest")["test"], metrics(place / "good")["test"]
    assert isinstance(found, dict)
    assert isinstance(trained, dict)
    assert found["confusion_matrix"] == trained["confusion_matrix"]
    assert found["escape_rate"] == trained["escape_rate"]
    parts = read(place / "good" / "evaluations" / "manifest" / "parts.csv")
    assert {row["part"] for row in parts} == {row["group"] for row in tested}
    bad = [row for row in parts if row["label"] == "Incorrect"]
    assert found["parts"]["verdicts"]["incorrect"]["PASS"] == sum(row["verdict"] == "PASS" for row in bad)
    assert {row["photos"] for row in parts} == {"2"}


def test_a_changed_photo_is_refused(evaluate: Evaluate, place: Path) -> None:
    path = Path(next(row for row in read(place / "good" / "split.csv") if row["subset"] == "test")["path"])
    before = path.read_bytes()
    try:
        save_photo(path, bright=True, seed=99999, size=16)
        code, _, errors = evaluate("name=changed")
        assert code == 2
        assert f"{path} is not the file that it was: its sha256 has changed" in errors
        path.unlink()
        code, _, errors = evaluate("name=changed")
        assert code == 2
        assert "cannot be read any more (no such file or directory)" in errors
    finally:
        path.write_bytes(before)
    assert not (place / "good" / "evaluations" / "changed").exists()


def test_two_runs_are_compared_on_the_same_photos(evaluate: Evaluate, place: Path) -> None:
    code, output, _ = evaluate(f"against={place / 'poor'}", "name=against")
    assert code == 0
    comparison = metrics(place / "good" / "evaluations" / "against")["comparison"]
    assert isinstance(comparison, dict)
    evaluate(f"run={place / 'poor'}", "name=alone")
    here = read(place / "good" / "evaluations" / "against" / "predictions.csv")
    there = read(place / "poor" / "evaluations" / "alone" / "predictions.csv")
    ahead: dict[str, int] = {}
    counts = [0, 0]
    for a, b in zip(here, there, strict=True):
        assert a["path"] == b["path"]
        right = [(row["verdict"] == "REJECT") == (row["label"] == "Incorrect") for row in (a, b)]
        counts[0] += right[0] and not right[1]
        counts[1] += right[1] and not right[0]
        part = a["path"][: -len("_a.png")]
        ahead[part] = ahead.get(part, 0) + right[0] - right[1]
    accuracy = comparison["differences"]["accuracy"]
    assert [accuracy["only_candidate"], accuracy["only_baseline"]] == counts
    assert accuracy["difference"]["value"] == pytest.approx((counts[0] - counts[1]) / len(here))
    votes = [sum(vote > 0 for vote in ahead.values()), sum(vote < 0 for vote in ahead.values())]
    assert accuracy["p"] == pytest.approx(binomtest(votes[0], sum(votes), 0.5).pvalue)
    assert accuracy["is"] == "better"
    assert "accuracy: better." in output
    assert "escape rate: " in output
    _, output, _ = evaluate(f"against={place / 'good'}", "name=itself")
    assert output.count("cannot tell") == 3


def test_the_other_run_has_seen_the_photos(evaluate: Evaluate, place: Path) -> None:
    _, output, _ = evaluate("subset=train", f"against={place / 'poor'}", "name=seen")
    seen = sum(row["subset"] == "train" for row in read(place / "good" / "split.csv"))
    assert f"BUT {seen} of these photos were used to train" in output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["run=nowhere"],
            "expected a run folder (with split.csv and checkpoints/ in it), latest or a release, got nowhere",
        ),
        (["run=latest"], "run=latest: no finished run below"),
        (["against=nowhere"], "expected a run folder"),
        (["subset=all"], "subset: expected one of train, val, test, got 'all'"),
        (["subset=test", "data.root=photos"], "subset=test names photos of the run: leave it out, or leave out data.*"),
        (["data.root=nowhere"], "data.root: expected a folder with Correct/ and Incorrect/ in it"),
        (["data.root=empty"], "expected folders 'Correct' and 'Incorrect' in"),
        (["data.manifest=no.csv"], "data.manifest: expected a CSV file with path,label"),
        (["device=tpu"], "device: expected auto, cpu, cuda or cuda:<n>, got 'tpu'"),
        (["name=a/b"], "name: expected a folder's name"),
        (["data.rot=x"], "there is no setting 'data.rot' (did you mean data.root?)"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(evaluate: Evaluate, arguments: list[str], line: str) -> None:
    Path("empty").mkdir()
    code, _, errors = evaluate(*arguments)
    assert code == 2
    (error,) = errors.splitlines()
    assert error.startswith("error: ")
    assert line in error
    assert list(Path().iterdir()) == [Path("empty")]
