import json
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from qc_lightning.metrics.compute import FIGURES, binary_metrics, evaluate, finite
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.intervals import wilson
from qc_lightning.metrics.table import table
from qc_lightning.metrics.wording import interval, percent, warnings_for


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def photos(n=200, seed=0, ties=False, skill=1.5, share=0.4):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < share).astype(int)
    logit = rng.normal(size=n) + skill * (label - 0.5)
    logit = logit.round(1) if ties else logit
    return sigmoid(logit), logit, label


def verdicts(tn, fp, fn, tp):
    """Metrics of photos with these outcomes at a threshold of 0.5."""
    label = np.array([0] * (tn + fp) + [1] * (fn + tp))
    logit = np.array([-1.0] * tn + [1.0] * fp + [-1.0] * fn + [1.0] * tp)
    return evaluate(sigmoid(logit), logit, label, None, Decision(0.5, ""))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_every_value_is_that_of_scikit_learn(ties, threshold):
    p, z, y = photos(ties=ties)
    hard = p >= threshold
    expected = {
        "loss": sk.log_loss(y, p),
        "accuracy": sk.accuracy_score(y, hard),
        "balanced_accuracy": sk.balanced_accuracy_score(y, hard),
        "precision": sk.precision_score(y, hard),
        "recall": sk.recall_score(y, hard),
        "f1": sk.f1_score(y, hard),
        "specificity": sk.recall_score(y, hard, pos_label=0),
        "auroc": sk.roc_auc_score(y, p),
        "average_precision": sk.average_precision_score(y, p),
        "escape_rate": 1 - sk.recall_score(y, hard),
        "review_rate": 0.0,
        "overkill_rate": 1 - sk.recall_score(y, hard, pos_label=0),
    }
    found = evaluate(p, z, y, None, Decision(threshold, ""))
    assert found["confusion_matrix"] == sk.confusion_matrix(y, hard).tolist()
    assert {name: found[name]["value"] for name in FIGURES} == pytest.approx(expected, abs=1e-12)
    for name in FIGURES.keys() - {"review_rate"}:
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


def test_the_keys_are_those_of_the_contract():
    found = verdicts(5, 1, 1, 5)
    named = "loss accuracy balanced_accuracy precision recall f1 specificity auroc average_precision escape_rate"
    assert found.keys() == {"n", "confusion_matrix", "verdicts", "overkill_rate", "review_rate", *named.split()}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_papers_54_photos():
    # 22 of 27 Correct and 24 of 27 Incorrect right, as the paper reports them
    found = verdicts(tn=22, fp=5, fn=3, tp=24)
    assert found["accuracy"]["value"] == 46 / 54
    assert (found["escape_rate"]["value"], found["overkill_rate"]["value"]) == (3 / 27, 5 / 27)
    assert (found["escape_rate"]["low"], found["escape_rate"]["high"]) == pytest.approx(wilson(3, 27))
    assert interval(found["accuracy"]) == "85% (73% to 92%)"


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
def test_training_metrics_and_evaluate_give_one_verdict_on_a_photo_at_the_threshold(threshold):
    t32 = np.float32(threshold)
    p = np.array([0, 0.2, np.nextafter(t32, np.float32(0)), t32, np.nextafter(t32, np.float32(1)), 1], dtype=np.float32)
    y = np.array([0, 1, 0, 1, 0, 1])
    streaming = binary_metrics(threshold)
    for part in (slice(0, 2), slice(2, 6)):  # batches must not matter
        streaming.update(torch.from_numpy(p[part]), torch.from_numpy(y[part]))
    found = evaluate(p, np.zeros(6), y, None, Decision(threshold, ""))
    for name, value in streaming.compute().items():
        assert value.item() == pytest.approx(found[name]["value"] or 0.0, abs=1e-6), name


def test_training_metrics_survive_a_copy_and_a_reset():
    p, _, y = photos()
    streaming = binary_metrics().clone(prefix="val_")
    streaming.update(torch.tensor([0.9], dtype=torch.float32), torch.tensor([0]))
    streaming.reset()
    streaming.update(torch.from_numpy(p), torch.from_numpy(y))
    found = {name: value.item() for name, value in streaming.compute().items()}
    assert found["val_balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, p >= 0.5), abs=1e-6)
    assert found["val_auroc"] == pytest.approx(sk.roc_auc_score(y, p), abs=1e-6)


@pytest.mark.parametrize(
    ("label", "undefined"),
    [
        ([], set(FIGURES)),
        ([0, 0], {"escape_rate", "recall", "f1", "balanced_accuracy", "auroc", "average_precision"}),
        ([1, 1], {"overkill_rate", "specificity", "balanced_accuracy", "auroc", "average_precision"}),
    ],
)
def test_what_is_undefined_is_null(label, undefined):
    z = np.array([1.0, -1.0])[: len(label)]
    found = evaluate(sigmoid(z), z, np.array(label, dtype=int), None, Decision(0.5, ""))
    assert {name for name in FIGURES if found[name] == {"value": None, "low": None, "high": None}} == undefined


def test_precision_is_undefined_when_nothing_is_rejected():
    found = verdicts(10, 0, 10, 0)
    assert found["precision"]["value"] is None
    assert found["f1"]["value"] == 0


def test_a_diverged_model_gives_nulls_and_a_warning_and_passes_nothing():
    y = np.array([0, 1] * 20)
    found = evaluate(np.full(40, np.nan), np.full(40, np.nan), y, None, Decision(0.5, ""))
    assert found["confusion_matrix"] == [[0, 20], [0, 20]]
    assert found["loss"]["value"] is None
    assert found["auroc"]["value"] is None
    json.dumps(found, allow_nan=False)
    assert "diverged" in warnings_for({"test": found})[0]


def test_huge_logits_have_an_exact_loss():
    found = evaluate(np.array([0.0, 1.0]), np.array([-800.0, 800.0]), np.array([1, 1]), None, Decision(0.5, ""))
    assert found["loss"]["value"] == 400.0


def test_photos_of_one_part_widen_every_interval():
    p, z, y = photos(60)
    copies = np.repeat(np.arange(60), 4)
    alone = evaluate(p[copies], z[copies], y[copies], None, Decision(0.5, ""))
    grouped = evaluate(p[copies], z[copies], y[copies], [f"part {i}" for i in copies], Decision(0.5, ""))
    for name in FIGURES:
        a, b = alone[name], grouped[name]
        assert a["value"] == b["value"]
        assert b["high"] - b["low"] > 1.5 * (a["high"] - a["low"]), name
    each = [str(i) for i in range(60)]
    assert evaluate(p, z, y, each, Decision(0.5, "")) == evaluate(p, z, y, None, Decision(0.5, ""))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ((68, 0, 32, 0), "passes every one of the 100 test photos"),
        ((0, 68, 0, 32), "rejects every one of the 100 test photos"),
        ((60, 8, 30, 2), "62%) is no better than calling every photo Correct (68%)"),
        ((2, 30, 8, 60), "62%) is no better than calling every photo Incorrect (68%)"),
        ((27, 23, 22, 28), "Balanced accuracy on test, 55% (4"),
        ((940, 30, 1, 29), "97%). Where one class is rare, judge by escapes and overkill."),
    ],
)
def test_a_model_that_is_no_better_than_one_verdict_is_announced(outcome, words):
    warnings = warnings_for({"train": verdicts(90, 10, 10, 90), "test": verdicts(*outcome)})
    assert words in warnings[0]
    assert len([text for text in warnings if not text.startswith("Few")]) == 1


def test_few_photos_are_announced_with_what_they_leave_open():
    (warning,) = warnings_for({"test": verdicts(60, 2, 1, 11)})
    assert "only 12 Incorrect" in warning
    assert "from 1% to 35%" in warning  # Wilson for 1 of 12
    assert "overkill" not in warning


def test_a_good_model_on_many_photos_has_no_warning():
    assert warnings_for({"test": verdicts(95, 5, 5, 95)}) == []


def test_no_photos_or_no_defect_is_announced():
    assert warnings_for({}) == ["No photo was evaluated: nothing is known about this model."]
    assert "No Incorrect photo in val: the escape rate is unknown." in warnings_for({"val": verdicts(50, 1, 0, 0)})


def test_finite_makes_plain_json():
    dirty = {"a": math.nan, "b": [np.float32(1.5), -math.inf, (np.int64(2), None)], 3: {"c": np.array([1.0, np.nan])}}
    assert finite(dirty) == {"a": None, "b": [1.5, None, [2, None]], "3": {"c": [1.0, None]}}
    json.dumps(finite(dirty), allow_nan=False)


def test_percent_never_rounds_a_few_to_none():
    assert [percent(x) for x in (None, 0.0, 1.0, 0.123, 0.002, 0.9996, 0.725)] == [
        "-", "0%", "100%", "12%", "0.2%", "99.96%", "73%",
    ]  # fmt: skip


def test_the_table_puts_escapes_first_and_fits_the_console():
    subsets = {
        name: evaluate(*photos(n, share=0.5), None, Decision(0.5, ""))
        for name, n in (("train", 50_000), ("val", 19), ("test", 54))
    }
    text = table({**subsets, "threshold": 0.5, "warnings": []}, ("c" * 60, "Incorrect"))
    lines = text.splitlines()
    assert lines[0].split() == ["train", "val", "test"]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["photos", "escape rate", "overkill rate"]
    assert interval(subsets["test"]["escape_rate"]) in lines[2]
    assert max(map(len, lines)) <= 100
    (tn, fp), (fn, tp) = subsets["test"]["confusion_matrix"]
    assert lines[-2].split()[-3:] == [str(tn), str(fp), "overkill"]
    assert lines[-1].split()[-3:] == [str(fn), "escaped", str(tp)]


def test_the_table_of_nothing_is_no_error():
    assert table({"test": evaluate(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int), None, Decision(0.5, ""))}) != ""


def test_reviewed_parts_are_a_column_of_their_own():
    """By hand: a band from 0.4 to 0.6 around the threshold; the confusion matrix uses only the threshold."""
    p = np.array([0.1, 0.45, 0.55, 0.9, 0.2, 0.45, 0.7, 0.8])
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = evaluate(p, np.log(p / (1 - p)), y, None, Decision(0.5, "", (0.4, 0.6)))
    assert found["verdicts"] == {
        "correct": {"PASS": 1, "REVIEW": 2, "REJECT": 1},
        "incorrect": {"PASS": 1, "REVIEW": 1, "REJECT": 2},
    }
    assert found["confusion_matrix"] == [[2, 2], [2, 2]]
    assert [found[name]["value"] for name in ("escape_rate", "overkill_rate", "review_rate")] == [0.25, 0.25, 3 / 8]
    text = table({"test": found})
    assert "review rate" in text
    lines = [" ".join(line.split()) for line in text.splitlines()[-3:]]
    assert lines == ["test passed rejected to review", "Correct (4) 1 1 overkill 2", "Incorrect (4) 1 escaped 2 1"]
    assert "review rate" not in table({"test": evaluate(p, p, y, None, Decision(0.5, ""))})
