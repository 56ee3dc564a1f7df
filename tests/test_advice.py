import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qc_lightning.metrics.compute import evaluate
from qc_lightning.metrics.curves import histogram, reliability, sweep
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.intervals import wilson
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.report.advice import Advice, Advised, advice
from qc_lightning.report.choices import rules_that_work
from qc_lightning.report.groups import group_advice
from qc_lightning.report.leaks import leak_checks, split_counts


def photos(n, seed=0, skill=2.0, share=0.5):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < share).astype(int)
    logit = rng.normal(size=n) + skill * (label - 0.5)
    return 1 / (1 + np.exp(-logit)), logit, label


def alone(n):
    return np.arange(n)


def advise(p, z, y, threshold=0.5, **changed):
    found = {"test": evaluate(p, z, y, None, Decision(threshold, "")), **changed.pop("others", {})}
    of_run = {name: changed.pop(name) for name in ("pretrained", "run", "train", "classes", "rules") if name in changed}
    advised = Advised(**{"run": "outputs/a", "pretrained": False, **of_run})
    known = {"history": [], "groups": None, "bad_files": 0, **changed}
    return advice(found, "test", sweep(p, y == 1, alone(len(y)), threshold), advised=advised, **known)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), st.floats(0, 1))
def test_the_sweep_counts_what_each_threshold_would_do_and_leaves_no_count_out(pairs, threshold):
    p, bad = np.array([p for p, _ in pairs]), np.array([b for _, b in pairs])
    columns = sweep(p, bad, alone(len(p)), threshold)
    counted = list(zip(columns["threshold"], columns["escapes"], columns["overkills"], strict=True))
    for cut, escapes, overkills in counted:
        rejected = Decision(cut, "").verdicts(p) == Verdict.REJECT
        assert (escapes, overkills) == ((bad & ~rejected).sum(), (~bad & rejected).sum())
    assert columns["threshold"] == sorted(set(columns["threshold"]))
    assert [cut for cut, run in zip(columns["threshold"], columns["run"], strict=True) if run] == [threshold]
    possible = {((bad & (p < cut)).sum(), (~bad & (p >= cut)).sum()) for cut in p}
    assert possible <= {(escapes, overkills) for _, escapes, overkills in counted}


def test_the_sweep_has_the_intervals_of_metrics_json():
    p, z, y = photos(200)
    group = [f"part {i // 4}" for i in range(200)]
    found = evaluate(p, z, y, group, Decision(0.4, ""))
    columns = sweep(p, y == 1, np.arange(200) // 4, 0.4)
    at = columns["run"].index(True)
    for name in ("escape", "overkill"):
        expected = found[f"{name}_rate"]
        assert columns[f"{name}_low"][at] == pytest.approx(expected["low"], abs=1e-6)
        assert columns[f"{name}_high"][at] == pytest.approx(expected["high"], abs=1e-6)


def test_the_sweep_of_many_photos_stays_short_and_fine():
    p, _, y = photos(50_000)
    columns = sweep(p, y == 1, alone(50_000), 0.5)
    assert len(columns["threshold"]) < 1200
    assert max(np.diff(columns["escapes"]) / (y == 1).sum()) < 0.02


def test_thresholds_can_be_typed():
    p, _, y = photos(60)
    assert max(len(repr(cut)) for cut in sweep(p, y == 1, alone(60), 0.5)["threshold"]) <= 8


def test_histogram_by_hand():
    found = histogram(np.array([0.0, 0.049, 0.05, 0.5, 1.0]), np.array([False, False, False, True, True]))
    assert found["correct"] == [2, 1] + [0] * 18
    assert found["incorrect"] == [0] * 10 + [1] + [0] * 8 + [1]


def test_reliability_by_hand():
    points = reliability(np.array([0.1, 0.15, 0.19, 1.0]), np.array([True, False, False, True]))
    low, high = wilson(1, 3)
    assert points == [
        pytest.approx({"n": 3, "said": 0.44 / 3, "true": 1 / 3, "low": low, "high": high}),
        pytest.approx({"n": 1, "said": 1.0, "true": 1.0, "low": wilson(1, 1)[0], "high": 1.0}),
    ]


def test_a_useless_model_is_not_to_be_used():
    p, z, y = photos(200, skill=0)
    first = advise(p * 0.1, z - 4, y)[0]
    assert "Do not use this model" in first.text
    assert first.command.endswith("experiment=recommended")
    for step in advise(p * 0.1, z - 4, y, pretrained=True):
        assert "recommended" not in step.command, "it is what the run was"


def test_a_useful_score_with_a_threshold_beside_it_is_told_apart_from_a_useless_model():
    p, z, y = photos(200, skill=3)
    first = advise(p * 0.1, z - 4, y)[0]
    assert "only the threshold is wrong" in first.text
    assert first.command.startswith("qc-lightning decide run=outputs/a rule=balanced")


def test_many_escapes_are_a_matter_for_the_validation_photos_not_for_a_threshold_read_off_the_test():
    p, z, y = photos(300, skill=3, seed=4)
    first = advise(p, z, y, 0.9)[0]
    assert "of the scratched photos escape" in advise(p, z, y, 0.9, classes=("ok", "scratched"))[0].text
    assert first.command == 'qc-lightning decide run=outputs/a rule=escape escape_rate=0.05 reason="too many escapes"'
    for step in advise(p, z, y, 0.9):
        assert "decision.threshold" not in step.command


def test_a_rule_that_rejects_most_good_parts_is_not_advised(tmp_path):
    """A threshold for 5% escapes that rejected 51 of 53 Correct validation photos was the first advice of a report."""
    file = tmp_path / "validation.csv"
    for overlapping, expected in ((0, ["balanced", "escape"]), (8, ["balanced"])):
        bad = [0.9] * (40 - overlapping) + [0.05] * overlapping
        rows = [("Correct", 0.1 + i / 1000) for i in range(40)] + [("Incorrect", p) for p in bad]
        file.write_text("label,probability\n" + "".join(f"{label},{p}\n" for label, p in rows))
        assert list(rules_that_work(file, "Incorrect")) == expected


def test_overkill_that_buys_nothing_is_pointed_out():
    p, z, y = photos(300, skill=6)
    first = advise(p, z, y, 0.02)[0]
    assert "without a further escape" in first.text
    assert "rule=balanced" in first.command


def test_a_model_that_no_threshold_saves():
    p, z, y = photos(400, skill=0.5, seed=2)
    first = advise(p, z, y, 0.5)[0]
    assert "no threshold fixes that" in first.text


def test_photos_for_review_have_not_escaped():
    p, z, y = photos(400)
    found = evaluate(p, z, y, None, Decision(0.5, "", review=(0.4, 0.6)))
    assert 0.05 < found["escape_rate"]["value"] < 0.8 * found["confusion_matrix"][1][0] / (y == 1).sum()
    steps = advice(
        {"test": found},
        "test",
        sweep(p, y == 1, alone(400), 0.5),
        [],
        None,
        0,
        Advised(run="outputs/a", pretrained=False),
    )
    assert steps[0].text.startswith(f"{found['escape_rate']['value']:.0%} of the Incorrect photos escape")


def test_few_photos_knowing_by_heart_short_training_groups_and_bad_files_each_have_their_advice():
    p, z, y = photos(40, skill=2, seed=1)
    train = {"train": evaluate(*photos(2000, skill=9), None, Decision(0.5, ""))}
    history = [{"epoch": e, "train_loss": 1 / (e + 1), "val_loss": 1 / (e + 1)} for e in range(5)]
    steps = advise(p, z, y, others=train, history=history, groups=Advice("Each a part of its own?", "x"), bad_files=2)
    text = " ".join(step.text for step in steps)
    for words in (
        "takes 59 Incorrect",
        "far better on its training photos",
        "still falling",
        "a part of its own",
        "2 unreadable",
    ):
        assert words in text
    assert "qc-lightning train trainer.max_epochs=10" in [step.command for step in steps]


@pytest.mark.parametrize("losses", [[], [0.5], [0.5, 0.4], [0.5, 0.4, 0.41], [0.5, 0.4, 0.399]])
def test_training_is_not_called_too_short_without_reason(losses):
    history = [{"train_loss": 0.1 / (epoch + 1), "val_loss": loss} for epoch, loss in enumerate(losses)]
    assert advise(*photos(1000, skill=8), history=history) == []


def row(path, label, group, subset, sha256):
    return {"path": path, "label": label, "group": group, "subset": subset, "sha256": sha256}


def test_leaks_are_found_and_named():
    clean = [row("a", "ok", "1", "train", "x"), row("b", "ok", "1", "train", "x"), row("c", "bad", "2", "test", "y")]
    assert [fine for fine, _ in leak_checks(clean)] == [True, True]
    group, copy = leak_checks([*clean, row("d", "bad", "1", "test", "z")])
    assert (group[0], copy[0]) == (False, True)
    assert "for example d" in group[1]
    group, copy = leak_checks([*clean, row("d", "bad", "3", "val", "x")])
    assert (group[0], copy[0]) == (True, False)
    assert leak_checks([]) == []
    assert not leak_checks([row("a", "ok", "1", "train", "")])[1][0]


def test_split_counts_by_hand():
    rows = [row("a", "ok", "1", "train", "x"), row("b", "bad", "1", "train", "y"), row("c", "bad", "2", "test", "z")]
    assert [(c["subset"], c["by_class"], c["total"], c["groups"]) for c in split_counts(rows, ["ok", "bad"])] == [
        ("train", [1, 1], 2, 1),
        ("val", [0, 0], 0, 0),
        ("test", [0, 1], 1, 1),
    ]


def rows(names, bad=lambda i: i % 2):
    return [
        {"path": name, "label": ("Correct", "Incorrect")[bad(i)], "group": name, "subset": "train"}
        for i, name in enumerate(names)
    ]


def test_the_advice_on_groups_says_how_many_which_and_what_was_cut():
    names = [f"photos/{i % 2}-part{i // 2 % 40:02d}_{'ab'[i // 80]}.png" for i in range(160)]
    split_as = {"source": "folder", "split": {"test": 0.3, "val": 0.0, "seed": 0, "folds": 5, "fold": None}}
    found = group_advice(rows(names), split_as, "qc-lightning train photos/", ("Correct", "Incorrect"))
    assert found.command == "qc-lightning train photos/ data.group=prefix"
    assert "what stands before the last _ or - of its name, the 160 photos show 80 parts, 80 of them on several" in (
        found.text
    )
    assert "0-part00 (0-part00_a.png, 0-part00_b.png); 1-part00 (" in found.text
    assert found.text.count("(") == 3, "three examples"

    folders = [name.replace("_", "/").replace("-", "/") for name in names]
    found = group_advice(rows(folders), split_as, "qc-lightning train photos/", ("Correct", "Incorrect"))
    assert found.command.endswith("data.group=folder")


def test_a_rule_that_could_not_be_split_is_not_advised():
    """IMG_0001.jpg: all photos have the same prefix, so a training grouped by it fails."""
    names = [f"photos/IMG_{i:04d}.jpg" for i in range(60)]
    found = group_advice(rows(names), {"source": "folder"}, "qc-lightning train photos/", ("Correct", "Incorrect"))
    assert found.command == ""
    assert "data.manifest=" in found.text
    assert group_advice(rows(names), {"source": "parts"}, "train", ("Correct", "Incorrect")) is None
    same = [row | {"group": "a"} for row in rows(names)]
    assert group_advice(same, {"source": "folder"}, "train", ("Correct", "Incorrect")) is None
