"""decision.json: it is read back; one edited by hand or of another model is refused in one line."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.record import DecisionFile

OWN = Decision(0.5, "fixed: set by hand, not fitted to photos")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    run, banded = Run(tmp_path), Decision(0.3, "fewer escapes", (0.3, 0.7), 1.5)
    run.best.parent.mkdir()
    DecisionFile.append(run, ("abc", OWN), banded, "fixed", "none", "Ada", {"claims": []})
    return run.decisions


def test_what_is_written_is_read(path: Path) -> None:
    content = json.loads(path.read_text())
    assert content.keys() == {"format", "model_id", "decisions"}
    named = "id rule threshold review novelty photos who when why certificate previous digest"
    assert [set(one) for one in content["decisions"]] == [set(named.split())] * 2
    assert content["decisions"][1]["previous"] == content["decisions"][0]["digest"]
    assert path.read_text().startswith('{\n  "format": 1,')
    read = DecisionFile.read(path, "abc", OWN)
    assert read.newest.decision == Decision(0.3, "fewer escapes", (0.3, 0.7), 1.5)
    assert (read.newest.who, read.newest.number, read.records[0].decision) == ("Ada", 2, OWN)
    read.write(path)
    assert json.loads(path.read_text()) == content


def test_decisions_made_at_the_same_time_are_all_kept(path: Path) -> None:
    """As of two people: the second one's would otherwise take the place of the first one's."""
    run, thresholds = Run(path.parent), [number / 100 for number in range(20, 44)]

    def decide(threshold: float) -> None:
        DecisionFile.append(run, ("abc", OWN), Decision(threshold, "tried"), "fixed", "none")

    with ThreadPoolExecutor(8) as people:
        list(people.map(decide, thresholds))
    records = DecisionFile.read(path, "abc", OWN).records
    assert sorted(record.decision.threshold for record in records[2:]) == thresholds


def test_the_newest_is_in_force_unless_a_release_names_another(path: Path) -> None:
    assert DecisionFile.read(path, "abc", OWN).named(Run(path.parent)).decision.threshold == 0.3
    decisions = DecisionFile.read(path, "abc", OWN)
    first = Run(path.parent, decisions.digest(decisions.records[0]), "line-3")
    assert decisions.named(first).decision.threshold == 0.5
    with pytest.raises(UserError, match="release line-3 names a decision that"):
        decisions.named(Run(path.parent, "0" * 64, "line-3"))
    with pytest.raises(UserError, match="from 1 to 2, got 3"):
        decisions.numbered(3)


def test_a_resumed_training_keeps_decisions_on_the_same_model_only(path: Path) -> None:
    """As of somebody who decides, and then trains on: the best epoch may stay the same."""
    before = path.read_text()
    assert DecisionFile.write_of_training(path, "abc", OWN, "fixed", "none") == 0
    assert path.read_text() == before
    assert DecisionFile.write_of_training(path, "def", OWN, "fixed", "none") == 1
    assert [record.decision for record in DecisionFile.read(path, "def", OWN).records] == [OWN]
    for damaged in ("{", '{"decisions": 1}', "[]"):
        path.write_text(damaged)
        assert DecisionFile.write_of_training(path, "abc", OWN, "fixed", "none") == 0
        assert DecisionFile.read(path, "abc", OWN).newest.decision == OWN


def edits() -> dict[str, Callable[[dict], object]]:
    return {
        "a threshold": lambda content: content["decisions"][1].update(threshold=0.31),
        "an old threshold": lambda content: content["decisions"][0].update(threshold=0.31),
        "a band": lambda content: content["decisions"][1].update(review=None),
        "a name": lambda content: content["decisions"][1].update(who="Bob"),
        "a record taken out": lambda content: content["decisions"].pop(0),
        "a record twice": lambda content: content["decisions"].append(content["decisions"][1]),
        "a key more": lambda content: content["decisions"][1].update(note="x"),
        "no list": lambda content: content.update(decisions={}),
        "numbers": lambda content: content.update(decisions=[1, 2]),
    }


@pytest.mark.parametrize("edit", edits())
def test_what_was_edited_by_hand_is_refused(path: Path, edit: str) -> None:
    content = json.loads(path.read_text())
    edits()[edit](content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"edited by hand|damaged") as error:
        DecisionFile.read(path, "abc", OWN)
    assert "\n" not in str(error.value)


def test_another_models_decision_is_refused(path: Path) -> None:
    with pytest.raises(UserError, match="of the model abc, expected def"):
        DecisionFile.read(path, "def", OWN)
    path.write_text('{"format": 9}')
    with pytest.raises(UserError, match="expected format 1, got 9"):
        DecisionFile.read(path, "abc", OWN)
    path.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        DecisionFile.read(path, "abc", OWN)


def test_a_file_of_an_earlier_release_must_be_the_checkpoints_copy(path: Path) -> None:
    path.write_text(json.dumps(OWN.to_dict()))
    assert DecisionFile.read(path, "abc", OWN).newest.decision == OWN
    path.write_text(json.dumps(OWN.to_dict() | {"threshold": 0.4}))
    with pytest.raises(UserError, match="not the decision that the model was saved with"):
        DecisionFile.read(path, "abc", OWN)
    path.unlink()
    assert DecisionFile.read(path, "abc", OWN).newest.decision == OWN


def test_a_run_judges_by_its_file_and_a_checkpoint_alone_by_its_own(run_folder: Path, tmp_path: Path) -> None:
    own = Inspector.load(run_folder / "checkpoints" / "best.ckpt")
    file, lower = run_folder / "decision.json", Decision(0.25, "fewer escapes")
    try:
        decisions = DecisionFile.append(Run(run_folder), (own.model_id, own.decision), lower, "fixed", "none")
        assert Inspector.load(run_folder).decision.threshold == 0.25
        assert Inspector.load(Run(run_folder, decisions.digest(decisions.records[0]))).decision.threshold == 0.5
        assert Inspector.load(run_folder / "checkpoints" / "best.ckpt").decision.threshold == 0.5
        file.write_text(file.read_text().replace("0.25", "0.26"))
        with pytest.raises(UserError, match="edited by hand"):
            Inspector.load(run_folder)
    finally:
        file.unlink()
