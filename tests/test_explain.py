"""`python -m qc_lightning.explain`: selected photos, output files, and the reported quality of the maps."""

import csv
import errno
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from qc_lightning import explain as command
from qc_lightning.core.run import Run
from qc_lightning.explanation import explanations as explained
from qc_lightning.explanation import summary
from qc_lightning.explanation.heat import Heat
from qc_lightning.explanation.selection import Subject
from qc_lightning.inference.inspector import Inspector

Train = Callable[..., tuple[int, Path, str]]


def call(*arguments: str) -> int:
    sys.argv = ["explain", *arguments]
    GlobalHydra.instance().clear()
    try:
        command.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def run(train: Train, photo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "argv", sys.argv)
    arguments = ["data=folder", f"data.root={photo_root}", "data.image_size=16", "model.hidden=[16]", "report=false"]
    code, folder, _ = train(*arguments, "trainer.max_epochs=20", "model.dropout=0", "data.batch_size=8")
    assert code == 0
    return folder


def test_a_runs_own_photos_are_explained_and_reported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"run={run}", "compare=true") == 0
    assert "hirescam" in capsys.readouterr().out
    folder = run / "explanations"
    with (folder / "explain.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (run / "predictions.csv").open() as file:
        predicted = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert {Path(row["path"]).name for row in rows} == set(predicted)
    for row in rows:
        assert row["verdict"] == predicted[Path(row["path"]).name]["verdict"]
        assert row["explains"] == ("Incorrect" if row["verdict"] == "REJECT" else "Correct")
        with Image.open(folder / row["picture"]) as picture:
            assert picture.width > 1000
        assert (folder / f"{row['sha256']}.png").is_file()
    wrong = [(row["label"] == "Incorrect") != (row["verdict"] == "REJECT") for row in rows]
    assert wrong == sorted(wrong, reverse=True), "mistakes first"
    result = json.loads((folder / "explain.json").read_text())
    assert result["methods"][0]["beats_random"]["value"] is not None
    assert "Where the model looked" in (run / "report.html").read_text()


def test_results_of_an_earlier_model_are_not_shown(run: Path, train: Train) -> None:
    """As after a resumed training: heat maps of the old weights would be shown beside the new verdicts."""
    assert call(f"run={run}", "checks=false") == 0
    (run / "robustness.json").write_text('{"model_id": "of the earlier model"}')
    assert len(list((run / "explanations").glob("*.png"))) > 1
    assert train(f"resume={run}", "trainer.max_epochs=30", "report=true", folder=run)[0] == 0
    report = (run / "report.html").read_text()
    for name in ("explanations/explain.json", "robustness.json"):
        assert f"{name} is of an earlier model and not shown; for this one: qc-lightning" in report
    assert "Where the model looked" not in report
    assert call(f"run={run}", "checks=false", "photos=1") == 0
    assert "Where the model looked" in (run / "report.html").read_text()
    assert len(list((run / "explanations").glob("*.png"))) == 1, "no overlay of the earlier model is left"


def test_masks_are_scored_where_there_are_any(run: Path, photo_root: Path) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:20, :20] = 255  # the white corner
    (photo_root / "masks").mkdir()
    for photo in (photo_root / "Incorrect").iterdir():
        Image.fromarray(mask).save(photo_root / "masks" / f"{photo.stem}.png")
    assert call(f"run={run}", "target=incorrect", "checks=false") == 0
    (of,) = json.loads((run / "explanations" / "explain.json").read_text())["methods"]
    with (run / "split.csv").open() as file:
        test = [row for row in csv.DictReader(file) if row["subset"] == "test" and row["label"] == "Incorrect"]
    assert of["masks"] == len(test)
    assert of["hit"]["value"] >= 0.8
    assert of["mask_share"] == pytest.approx(0.25)
    assert of["heat_in_mask"] > 0.5
    for photo in (photo_root / "Incorrect").iterdir():  # they need no label: a mask is of a defect
        photo.rename(photo_root / photo.name)
    others = [f"source={photo_root}", f"masks={photo_root / 'masks'}", f"output={run / 'others'}", "photos=null"]
    assert call(f"run={run}", "target=incorrect", "checks=false", *others) == 0
    (of,) = json.loads((run / "others" / "explain.json").read_text())["methods"]
    assert len(list((run / "others" / "sheets").iterdir())) == 40, "a mask is not a photo"
    assert of["masks"] >= len(test)
    assert of["hit"]["value"] >= 0.8
    for path in sorted((photo_root / "masks").iterdir())[:-1]:  # only the last photo of all keeps its mask
        path.unlink()
    few = [f"output={run / 'few'}", "photos=2"]
    assert call(f"run={run}", "target=incorrect", "checks=false", *others[:2], *few) == 0
    (of,) = json.loads((run / "few" / "explain.json").read_text())["methods"]
    assert of["masks"] == 1, "photos with a mask are preferred"
    with (run / "few" / "explain.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_other_photos_and_one_that_is_none(run: Path, tmp_path: Path, photo_root: Path) -> None:
    source = tmp_path / "incoming"
    source.mkdir()
    (source / "a.png").write_bytes((photo_root / "Correct" / "c00.png").read_bytes())
    (source / "b.png").write_text("no image")
    assert call(f"run={run}", f"source={source}", f"output={tmp_path / 'out'}", "checks=false") == 3
    with (tmp_path / "out" / "explain.csv").open() as file:
        fine, bad = csv.DictReader(file)
    assert Path(fine["picture"]).name == "0001_a.png"
    assert fine["error"] == ""
    assert "not an image" in bad["error"]
    assert bad["picture"] == ""


def test_one_explanation_takes_the_place_of_another_or_leaves_it(
    run: Path, tmp_path: Path, photo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sheets of an earlier call could show another model's verdicts, and those of half a call would be photos."""
    for name, photo in (("a", "c00.png"), ("b", "c01.png")):
        (tmp_path / name).mkdir()
        shutil.copy(photo_root / "Correct" / photo, tmp_path / name / f"{name}.png")

    def explain(name: str) -> int:
        return call(f"run={run}", f"source={tmp_path / name}", f"output={tmp_path / 'why' / 'out'}", "checks=false")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("qc_lightning.explanation.pictures.save_overlay", full)  # after the sheet was written
        assert explain("a") == 2
    assert list((tmp_path / "why").rglob("*")) == [], "the sheet would be taken for a photo"
    (tmp_path / "why" / "out" / ".unfinished-of-a-killed-one").mkdir(parents=True)
    assert explain("a") == explain("b") == 0
    assert [path.name for path in (tmp_path / "why" / "out" / "sheets").iterdir()] == ["0001_b.png"]
    assert not list((tmp_path / "why").rglob(".*"))
    (tmp_path / "a" / "notes.txt").write_text("mine")
    assert call(f"run={run}", f"source={tmp_path / 'b'}", f"output={tmp_path / 'a'}") == 2
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["a.png", "notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["method=scorecam"], "expected hirescam for this network, got 'scorecam'"),
        (["method=cam"], "method: expected one of auto, distance, evidence"),
        (["source=nowhere/"], "there is no"),
        (["masks=nowhere"], "masks: expected a folder"),
        (["masks=."], "masks: expected <photo's stem>.png of a photo"),
        (["masks=.", "source=../photos"], "masks: expected <photo's stem>.png of a photo"),
    ],
)
def test_mistakes_are_one_line(run: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"run={run}", *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert not (run / "explanations").exists()


def test_a_run_without_a_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints" / "best.ckpt").unlink()
    assert call(f"run={run}") == 2
    assert "expected a checkpoint" in capsys.readouterr().err


def test_when_memory_runs_out_the_batch_is_halved(run: Path, photo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspector = Inspector.load(Run(run), "cpu")
    heat = Heat(inspector.network, "hirescam")
    sizes = []
    real = Heat.__call__

    def narrow(self: Heat, image: torch.Tensor, incorrect: list[bool]) -> object:
        sizes.append(len(image))
        if len(image) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, image, incorrect)

    monkeypatch.setattr(Heat, "__call__", narrow)
    photos = [Subject(path, None, None) for path in sorted((photo_root / "Correct").iterdir())[:5]]
    found = list(explained.explain(inspector, heat, photos, 5, "verdict", check=False))
    assert [one.subject.path for one in found] == [photo.path for photo in photos]
    assert sizes == [5, 2, 2, 1]


def test_few_photos_cannot_tell_a_map_from_random_ones() -> None:
    """5 of 6 (44% to 97%) proves neither; 30 of 30 does, and so does 2 of 30."""

    def said(wins: int, photos: int) -> str:
        maps = [{"hit": None, "fall": float(i < wins), "fall_random": 0.5} for i in range(photos)]
        return summary.in_words([summary.of_maps("gradcam", maps)])

    assert "cannot tell it from random maps; explain more photos: qc-lightning explain" in said(5, 6)
    assert "random maps;" not in said(30, 30)
    assert "WORSE THAN RANDOM" in said(2, 30)
