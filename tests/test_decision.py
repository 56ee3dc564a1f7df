import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

import qc_lightning
from qc_lightning.core.errors import UserError
from qc_lightning.metrics import verdict
from qc_lightning.metrics.compute import evaluate
from qc_lightning.metrics.decision import Decision, sigmoid
from qc_lightning.metrics.verdict import Verdict, overkills

PACKAGE = Path(qc_lightning.__file__).parent
probabilities = st.floats(0, 1)


labelled = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), max_size=40)


def escapes(threshold, probability, label):
    return int(verdict.escapes(Decision(threshold, "").verdicts(probability), label).sum())


def test_a_part_at_the_threshold_is_rejected():
    assert Decision(0.5, "").verdicts([0.0, 0.49999, 0.5, 1.0]).tolist() == ["PASS", "PASS", "REJECT", "REJECT"]
    assert Decision(0.0, "").verdicts([0.0]).tolist() == ["REJECT"]


def test_what_is_no_number_is_not_passed():
    assert Decision(1.0, "").verdicts([np.nan]).tolist() == ["REJECT"]


def test_single_precision_scores_are_compared_as_they_are():
    # 0.1 in single precision is a little above 0.1: it must not be rounded down to a pass or a reject by its type
    score = np.float32(0.1)
    assert Decision(float(score), "").verdicts(np.array([score])) == [Verdict.REJECT]
    assert Decision(float(np.nextafter(np.float64(score), 1)), "").verdicts(np.array([score])) == [Verdict.PASS]


@given(labelled, probabilities, probabilities)
def test_raising_the_threshold_never_lowers_escapes_nor_raises_overkill(pairs, a, b):
    p, y = np.array([p for p, _ in pairs]), np.array([y for _, y in pairs], dtype=int)
    low, high = sorted((a, b))
    assert escapes(low, p, y) <= escapes(high, p, y)
    rejects = [overkills(Decision(t, "").verdicts(p), y).sum() for t in (low, high)]
    assert rejects[0] >= rejects[1]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_outside_0_to_1_is_refused(threshold):
    with pytest.raises(UserError, match="between 0 and 1"):
        Decision(threshold, "")


@given(probabilities)
def test_a_stored_decision_comes_back_to_the_last_digit(threshold):
    decision = Decision(threshold, "by hand")
    stored = json.loads(json.dumps(decision.to_dict()))
    assert stored.keys() == {"threshold", "source", "review", "novelty", "certificate"}
    assert Decision.from_dict(stored) == decision
    banded = Decision(threshold, "by hand", (threshold / 3, (1 + threshold) / 2), 1.25)
    assert Decision.from_dict(json.loads(json.dumps(banded.to_dict()))) == banded


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"threshold": None},
        {"threshold": "0.5"},
        {"threshold": True},
        {"threshold": 2},
        {"threshold": 0.5, "review": 0.5},
        {"threshold": 0.5, "review": [0.4]},
        {"threshold": 0.5, "review": [0.6, 0.9]},
        {"threshold": 0.5, "novelty": "far"},
        {"threshold": 0.5, "novelty": -1},
    ],
)
def test_a_damaged_decision_is_refused(stored):
    with pytest.raises(UserError):
        Decision.from_dict(stored)


def test_between_the_ends_of_the_review_band_a_person_looks():
    decision = Decision(0.5, "", review=(0.4, 0.6))
    verdicts = decision.verdicts([0.39, 0.4, 0.5, 0.59, 0.6, np.nan])
    assert verdicts.tolist() == ["PASS", "REVIEW", "REVIEW", "REVIEW", "REJECT", "REJECT"]


def test_a_novel_photo_is_never_passed():
    decision = Decision(0.5, "", novelty=2.0)
    assert decision.verdicts([0.1, 0.1, 0.9, 0.1], [2.0, 2.1, 2.1, np.nan]).tolist() == ["PASS"] + 3 * ["REVIEW"]
    assert decision.verdicts([0.1, 0.9]).tolist() == ["PASS", "REJECT"]


scores = st.one_of(st.floats(0, 1), st.just(float("nan")))


@settings(max_examples=12)
@given(st.lists(st.tuples(scores, st.integers(0, 1)), min_size=1, max_size=30), probabilities)
def test_without_a_band_the_figures_are_those_of_the_threshold_alone(pairs, threshold):
    p, y = np.array([p for p, _ in pairs]), np.array([y for _, y in pairs])
    rejected = ~(p < threshold)
    verdicts = Decision(threshold, "").verdicts(p)
    assert not verdict.reviews(verdicts).any()
    assert verdict.escapes(verdicts, y).tolist() == (~rejected & (y == 1)).tolist()
    assert overkills(verdicts, y).tolist() == (rejected & (y == 0)).tolist()
    figures = evaluate(p, np.zeros(len(p)), y, None, Decision(threshold, ""))
    (tn, fp), (fn, tp) = figures["confusion_matrix"]
    assert (tn, fp) == ((~rejected & (y == 0)).sum(), (rejected & (y == 0)).sum())
    assert (fn, tp) == ((~rejected & (y == 1)).sum(), (rejected & (y == 1)).sum())
    for name, hits, among in (("escape_rate", fn, fn + tp), ("overkill_rate", fp, fp + tn)):
        assert figures[name]["value"] == (hits / among if among else None)


@given(st.lists(st.tuples(scores, scores, st.integers(0, 1)), max_size=30), probabilities, st.floats(0, 1))
def test_every_part_is_right_an_escape_an_overkill_or_reviewed(rows, threshold, limit):
    p, novelty, y = (np.array([row[i] for row in rows], dtype=float) for i in range(3))
    verdicts = Decision(threshold, "", (threshold / 2, threshold), limit).verdicts(p, novelty)
    right = ((verdicts == Verdict.PASS) & (y == 0)) | ((verdicts == Verdict.REJECT) & (y == 1))
    kinds = np.stack([right, verdict.escapes(verdicts, y), overkills(verdicts, y), verdict.reviews(verdicts)])
    assert (kinds.sum(0) == 1).all()


def test_only_one_module_spells_a_verdict():
    spelt = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"""(?<!: )["'](PASS|REVIEW|REJECT)["']""", path.read_text(encoding="utf-8"))
    ]
    assert spelt == ["metrics/verdict.py"]


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=8))
def test_the_sigmoid_is_scipys(logits):
    np.testing.assert_allclose(sigmoid(np.array(logits)), expit(logits), rtol=1e-14, atol=1e-300)


def test_why_a_person_looks():
    decision = Decision(0.5, "", review=(0.4, 0.6), novelty=2.0)
    assert "novelty 2.5, the limit is 2" in decision.reason(0.1, 2.5)
    far = Decision(0.5, "by hand", novelty=25_371.4)
    assert "novelty 31,300, the limit is 25,400" in far.reason(0.1, 31_312.7)
    assert "novelty nan" in decision.reason(0.1, float("nan"))
    assert decision.reason(0.1, 2.0) == "" == decision.reason(0.1) == decision.reason(0.6, 0.0)
    assert decision.reason(0.4).startswith("cannot tell: 0.400 lies between 0.400 and 0.600")
    assert Decision(0.5, "").reason(0.5, 9.0) == ""
    for probability in (0.0, 0.39, 0.4, 0.59, 0.6, 1.0):  # words and verdicts agree
        assert bool(decision.reason(probability)) == (decision.verdicts([probability])[0] == Verdict.REVIEW)


@pytest.mark.parametrize("novelty", [-0.1, float("inf"), float("nan")])
def test_a_limit_that_is_no_distance_is_refused(novelty):
    with pytest.raises(UserError, match="limit of novelty"):
        Decision(0.5, "", novelty=novelty)


def test_mistakes_of_one_kind_come_the_surest_first():
    verdicts = ["PASS", "PASS", "REJECT", "REJECT", "REVIEW", "REVIEW", "PASS"]
    probability = [0.3, 0.1, 0.7, 0.9, 0.5, 0.6, 0.2]
    label = [1, 1, 0, 0, 0, 1, 0]
    assert verdict.worst_first(verdicts, probability, label).tolist() == [1, 0, 3, 2, 5, 4, 6]


def test_a_part_is_bad_if_one_of_its_photos_is():
    verdicts, bad, names = verdict.by_part(["PASS", "PASS", "REVIEW", "REJECT"], [0, 1, 0, 0], ["a", "a", "b", "b"])
    assert (verdicts.tolist(), bad.tolist(), names) == (["PASS", "REJECT"], [True, False], ["a", "b"])
