"""From test photos to a comparison, a certificate and a release for the line, as a user types it."""

import csv
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import save_photo
from qc_lightning import certify, decide, evaluate, export, predict, release, releases, serve
from qc_lightning.config.serving import ServeConfig
from qc_lightning.core.run import Run
from qc_lightning.deployment.carry import carry
from qc_lightning.inference.checkpoint import read_checkpoint
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.validity import certificate_line
from qc_lightning.metrics import compute
from qc_lightning.metrics.curves import sweep
from qc_lightning.metrics.decision import Decision
from qc_lightning.report.advice import Advised, advice

Train = Callable[..., tuple[int, Path, str]]
Call = Callable[..., int]


@pytest.fixture
def run(train: Train, photo_root: Path) -> Path:
    easy = ["data=folder", f"data.root={photo_root}", "data.image_size=16", "model.hidden=[]", "report=false"]
    code, folder, output = train(*easy, "trainer.max_epochs=15", "optim.lr=0.01", "decision.rule=balanced")
    assert code == 0, output
    assert "can it go live?" in output
    return folder


@pytest.fixture
def qualification(tmp_path: Path) -> Path:
    root = tmp_path / "qualification"
    for seed in range(60):
        save_photo(root / "Correct" / f"c{seed:02d}.png", bright=False, seed=1000 + seed)
        save_photo(root / "Incorrect" / f"i{seed:02d}.png", bright=True, seed=2000 + seed)
    return root


def test_from_training_to_a_release(
    run: Path, qualification: Path, photo_root: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["go_live"].keys() == {"claim", "target", "answer", "needed", "per_1000"}
    own = f"run={run}"

    assert call(certify.main, own, f"data.root={photo_root}") == 2
    assert "are among its own" in capsys.readouterr().err
    folder, original = qualification / "Correct", photo_root / "Correct"
    shutil.copy(original / "c02.png", folder / "again1.png")
    for number in (3, 4, 5, 6):
        Image.open(original / f"c{number:02d}.png").save(folder / f"again{number}.bmp")
    shutil.copy(folder / "again3.bmp", folder / "again2.bmp")
    assert call(certify.main, own, f"data.root={qualification}") == 2
    said = capsys.readouterr().err
    assert "but 6 are among its own, copies of them that were saved again, or look exactly like one: leave out " in said
    assert said.count(f"(like {original}") == 5
    assert f"{folder / 'again2.bmp'} (like {original / 'c03.png'})" in said
    assert "and 1 more" in said
    for path in folder.glob("again*"):
        path.unlink()
    assert call(certify.main, own, f"data.root={qualification}", "escape_rate=0.02") == 1
    assert (
        "60 Incorrect parts without an escape certify 4.87% at 95% confidence; 89 more for 2%"
        in capsys.readouterr().out
    )
    assert call(certify.main, own, f"data.root={qualification}", "overkill_rate=0.05", "by=Ada") == 0
    assert "(95% interval; certified: at most 5%)" in capsys.readouterr().out
    content = json.loads((run / "decision.json").read_text())
    newest = content["decisions"][-1]
    assert (newest["rule"], newest["who"], newest["id"]) == ("certify", "Ada", 2)
    certificate = newest["certificate"]
    assert certificate["model_id"] == content["model_id"] == metrics["model_id"]
    assert [claim["allowed"] for claim in certificate["claims"]] == [0, 0]
    assert len(certificate["photos"]) == 120
    card = (run / "model_card.md").read_text()
    assert card.count("## Certificate") == 1
    assert "Decision 2, by Ada" in card
    # evaluate warns that these photos chose the certified threshold
    capsys.readouterr()
    assert call(evaluate.main, own, f"data.root={qualification}", "name=again") == 0
    evaluated = json.loads((run / "evaluations" / "again" / "metrics.json").read_text())
    assert "120 of these photos chose the threshold (certify): its figures are too good." in evaluated["warnings"]
    found = evaluated["test"]["verdicts"]
    assert (found["incorrect"]["PASS"], found["correct"]["REJECT"]) == (0, 0)

    assert call(release.main, own, "name=line-3", "by=Ada", "reason=first") == 0
    capsys.readouterr()
    assert call(decide.main, own, "threshold=0.9", "reason=a try") == 0
    said = capsys.readouterr().out
    assert (
        f"decision 3 is in force: threshold 0.9 (decision 2: {newest['threshold']:g})\nreason on record: a try\n"
        in said
    )
    assert "It is not certified, decision 2 was: qc-lightning certify" in said
    assert call(predict.main, "run=line-3", f"source={qualification}", "output=v.jsonl") == 0
    rows = [json.loads(line) for line in Path("v.jsonl").read_text().splitlines()]
    assert {row["threshold"] for row in rows} == {newest["threshold"]}, "the release keeps its decision"
    assert {row["certificate"] for row in rows} == {"holds"}
    assert call(predict.main, own, f"source={qualification}", "output=w.jsonl") == 0
    assert {json.loads(line)["certificate"] for line in Path("w.jsonl").read_text().splitlines()} == {"none"}
    assert call(release.main, own, "name=line-3") == 0
    capsys.readouterr()
    assert call(releases.main) == 0
    out = capsys.readouterr().out
    assert "line-3: " in out
    assert f"qc-lightning release run={run} decision=2 name=line-3" in out

    (run / "decision.json").write_text((run / "decision.json").read_text().replace("0.9", "0.8"))
    again = ["threshold=0.5", "reason=x"]
    for main, arguments in ((predict.main, [f"source={qualification}"]), (evaluate.main, []), (decide.main, again)):
        assert call(main, own, *arguments) == 2
        assert "edited by hand" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rule=escape"], "escape_rate: expected a share with rule=escape, such as 0.02, got None"),
        (["rule=cost"], "bad_share: expected the line's share of bad parts with rule=cost, got None"),
        (["rule=escape", "escape_rate=5"], "escape_rate: expected a share between 0 and 1, got 5.0"),
        (["rule=f1", "costs.escape=-1"], "costs.escape: expected a cost of 0 or more, got -1.0"),
        (["threshold=43"], "threshold: expected a probability from 0 to 1, got 43.0"),
        (
            ["threshold=0.3", "review=[0.6,0.2]"],
            "review: expected two thresholds [low, high] around threshold=, with rule=fixed, got [0.6, 0.2]",
        ),
    ],
)
def test_decide_names_its_own_settings(
    arguments: list[str], line: str, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(decide.main, "run=any", "reason=why", *arguments) == 2
    assert capsys.readouterr().err.strip().removeprefix("error: ") == line


def test_an_export_keeps_the_certificate_only_with_every_qualification_photo(
    run: Path, qualification: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(certify.main, f"run={run}", f"data.root={qualification}", "data.group=none") == 0
    capsys.readouterr()
    assert call(export.main, f"run={run}") == 0
    assert "certificate: holds for the export, all 120 qualification photos keep" in capsys.readouterr().out
    exported = ExportedInspector.load(run / "export" / "inspector.onnx")
    stored = json.loads((run / "decision.json").read_text())["decisions"][-1]
    certificate, carried = stored["certificate"], exported.metadata.decision["certificate"]
    assert exported.metadata.decision["digest"] == stored["digest"]
    assert carried["claims"] == certificate["claims"]
    assert carried["carried"]["backend"] == "onnxruntime"
    assert carried["carried"]["logit_gap"] < 1e-3
    assert carried["photos"] == 120, "neither their paths nor their scores leave the run"

    photos = certificate["photos"]
    bad = next(place for place, photo in enumerate(photos) if photo["label"] == 1)
    passed = [photo | {"logit": -20.0} if place == bad else photo for place, photo in enumerate(photos)]
    for other, said in (
        ({"photos": passed}, f"1 of 120 qualification photos get another verdict, such as {photos[bad]['path']}"),
        ({"photos": [photo | {"logit": photo["logit"] + 0.01} for photo in photos]}, "logits of qualification photos"),
        ({"model_id": "0" * 12}, "it is of the model 000000000000"),
        ({"decode": certificate["decode"] | {"bit_depth": 12}}, "decoded otherwise than when it was made: bit_depth"),
        ({"photos": [{key: of[key] for key in ("sha256", "label", "logit")} for of in photos]}, "120 of 120"),
    ):
        assert said in carry(certificate | other, exported)["void"]

    Path(photos[3]["path"]).unlink()
    assert call(export.main, f"run={run}", "output=other.onnx") == 0
    assert "WARNING: the certificate is void for the export: 1 of 120 qualification photos" in capsys.readouterr().out
    assert "are gone" in ExportedInspector.load("other.onnx").metadata.decision["certificate"]["void"]


def test_what_decodes_or_computes_otherwise_voids_the_certificate(
    run: Path, qualification: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predict, serve and release report it in one line; the verdicts do not change."""
    own = f"run={run}"
    assert call(certify.main, own, f"data.root={qualification}", "overkill_rate=0.05", "together=true") == 1
    assert call(certify.main, own, f"data.root={qualification}", "overkill_rate=0.05") == 0
    capsys.readouterr()

    def says(*arguments: str) -> str:
        assert call(predict.main, own, f"source={qualification}", *arguments) == 0
        return capsys.readouterr().out

    holds = "certificate: escape rate at most 5% and overkill rate at most 5% at 95% confidence, one-sided exact\n"
    other = (
        "WARNING: the certificate is void here: photos are decoded otherwise than when it was made: max_pixels 999999"
    )
    assert holds in says("output=a.csv")
    assert other in says("output=b.csv", "max_pixels=999999")
    inspector = Inspector.load(run, "cpu")
    assert certificate_line(inspector) + "\n" == holds
    assert "it was made with device cpu, this is cuda:1" in certificate_line(inspector, "cuda:1")
    assert certificate_line(replace(inspector, certificate=None)) == ""
    assert "photos" not in (inspector.certificate or {}), "thousands of paths need not travel to each worker"

    config = ServeConfig(run=str(run))
    assert certificate_line(ExportedInspector.load(serve._model(config))) + "\n" == holds, "exported first"
    assert "gate:" in capsys.readouterr().out
    assert certificate_line(ExportedInspector.load(serve._model(config))) + "\n" == holds
    assert "gate:" not in capsys.readouterr().out
    assert call(decide.main, own, "threshold=0.4", "reason=a try") == 0
    assert ExportedInspector.load(serve._model(config)).decision.threshold == 0.4, "what is served is what is in force"
    assert "another decision is in force since; exporting" in capsys.readouterr().out

    assert call(release.main, own, "name=line-3", "decision=2") == 0
    assert "WARNING" not in capsys.readouterr().out
    checkpoint = read_checkpoint(Run(run).best)
    checkpoint["inspector"]["decode"]["bit_depth"] = 12
    torch.save(checkpoint, Run(run).best)
    assert call(release.main, own, "name=line-3", "decision=2") == 0
    assert "certificate of decision 2 is void: photos are decoded otherwise" in capsys.readouterr().out
    assert json.loads(Path("outputs/releases/line-3.json").read_text())["certified"] is False


def test_the_only_release_is_the_default_and_of_several_one_must_be_named(
    run: Path, qualification: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(release.main, f"run={run}", "name=line-3") == 0
    capsys.readouterr()
    assert call(evaluate.main) == 0
    assert "(release line-3)" in capsys.readouterr().out
    assert call(release.main, "run=line-3", "name=line-4") == 0
    assert call(evaluate.main) == 2
    assert "there are several releases, say which one: line-3, line-4" in capsys.readouterr().err
    assert call(evaluate.main, "run=line-5") == 2
    assert "latest or a release" in capsys.readouterr().err
    assert call(release.main, f"run={run}", "name=../x") == 2


def test_decide_chooses_on_validation_photos(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(decide.main, f"run={run}", "threshold=0.5") == 2
    assert "reason" in capsys.readouterr().err
    assert call(decide.main, f"run={run}", "rule=escape", "escape_rate=0.2", "reason=asked for") == 0
    newest = json.loads((run / "decision.json").read_text())["decisions"][-1]
    with (run / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    passed, rejected = (
        sum(row["label"] == name and (float(row["probability"]) >= newest["threshold"]) == rejected for row in rows)
        for name, rejected in (("Incorrect", False), ("Correct", True))
    )
    counts = Counter(row["label"] for row in rows)
    words = f"{passed} of {counts['Incorrect']} Incorrect pass, {rejected} of {counts['Correct']} Correct are rejected"
    assert f"on {len(rows)} validation photos: {words}, 0 are for review" in capsys.readouterr().out
    assert newest["rule"] == "escape"
    before = (run / "decision.json").read_text()
    (run / "validation.csv").write_text("path\n1\n")
    assert call(decide.main, f"run={run}", "threshold=0.5", "reason=again") == 2
    assert (run / "decision.json").read_text() == before, "refused before anything is written"
    assert newest["photos"].endswith("validation photos")
    assert newest["why"].endswith("(asked for)")


def test_a_run_that_passes_everything_is_not_released(
    train: Train, photo_root: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    easy = ["data=folder", f"data.root={photo_root}", "data.image_size=16", "model.hidden=[]", "report=false"]
    _, folder, _ = train(*easy, "trainer.max_epochs=1", "decision.threshold=1.0")
    assert call(serve.main, "port=0") == 2
    assert "there is no release to serve" in capsys.readouterr().err
    assert call(release.main, f"run={folder}", "name=line-3") == 2
    assert "passes every one of its 12 test photos; force=true" in capsys.readouterr().err
    assert call(release.main, f"run={folder}", "name=line-3", "force=true") == 0
    assert call(predict.main, "run=line-3", f"source={photo_root}", "output=v.csv") == 0
    assert "WARNING: it passes every one" in capsys.readouterr().out
    for words in ((), ("run=line-3",), ("model=" + str(folder / "export" / "inspector.onnx"),)):
        assert call(serve.main, *words, "port=0") == 2, "the only release is the default"
        assert "is not served: it passes every one of its 12 test photos; force=true" in capsys.readouterr().err


def test_the_commands_of_the_report_work_when_pasted(
    run: Path, qualification: Path, photo_root: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command in the advice on poor metrics, except trainings, which other tests run."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 100)
    logit = rng.normal(size=200) + 3 * (label - 0.5)
    commands = set()
    for threshold in (0.02, 0.9):
        p = 1 / (1 + np.exp(-logit))
        found = {"test": compute.evaluate(p, logit, label, None, Decision(threshold, ""))}
        thresholds = sweep(p, label == 1, np.arange(200), threshold)
        commands |= {s.command for s in advice(found, "test", thresholds, [], None, 0, Advised(str(run), True))}
    few = {"test": compute.evaluate(p[80:120], logit[80:120], label[80:120], None, Decision(0.5, ""))}
    commands |= {step.command for step in advice(few, "test", None, [], None, 0, Advised(str(run), True))}
    assert {shlex.split(command)[1] for command in commands} == {"decide", "certify"}
    assert len(commands) == 3
    mains = {"decide": decide.main, "certify": certify.main}
    for command in commands:
        _, name, *words = shlex.split(command)
        root = [f"data.root={qualification}" if word == "qualification/" else word for word in words]
        assert call(mains[name], *root) == 0, capsys.readouterr().err
