import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from qc_lightning.core.errors import UserError
from qc_lightning.metrics.decision import Decision, choose_threshold

probabilities = st.floats(0, 1)
labelled = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), max_size=40)


def escapes(threshold, probability, label):
    return int((Decision(threshold, "").verdicts(probability)[label == 1] == "PASS").sum())


def test_a_part_at_the_threshold_is_rejected():
    assert Decision(0.5, "").verdicts([0.0, 0.49999, 0.5, 1.0]).tolist() == ["PASS", "PASS", "REJECT", "REJECT"]
    assert Decision(0.0, "").verdicts([0.0]).tolist() == ["REJECT"]


def test_what_is_no_number_is_not_passed():
    assert Decision(1.0, "").verdicts([np.nan]).tolist() == ["REJECT"]


def test_single_precision_scores_are_compared_as_they_are():
    # 0.1 in single precision is a little above 0.1: it must not be rounded down to a pass or a reject by its type
    score = np.float32(0.1)
    assert Decision(float(score), "").rejects(np.array([score])).all()
    assert not Decision(float(np.nextafter(np.float64(score), 1)), "").rejects(np.array([score])).any()


@given(labelled, probabilities, probabilities)
def test_raising_the_threshold_never_lowers_escapes_nor_raises_overkill(pairs, a, b):
    p, y = np.array([p for p, _ in pairs]), np.array([y for _, y in pairs], dtype=int)
    low, high = sorted((a, b))
    assert escapes(low, p, y) <= escapes(high, p, y)
    rejects = [Decision(t, "").rejects(p)[y == 0].sum() for t in (low, high)]
    assert rejects[0] >= rejects[1]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_outside_0_to_1_is_refused(threshold):
    with pytest.raises(UserError, match="between 0 and 1"):
        Decision(threshold, "")


@given(probabilities)
def test_a_stored_decision_comes_back_to_the_last_digit(threshold):
    decision = Decision(threshold, "by hand")
    stored = json.loads(json.dumps(decision.to_dict()))
    assert stored.keys() == {"threshold", "source", "review", "certificate"}
    assert Decision.from_dict(stored) == decision


@pytest.mark.parametrize(
    "stored", [{}, {"threshold": None}, {"threshold": "0.5"}, {"threshold": True}, {"threshold": 2}]
)
def test_a_damaged_decision_is_refused(stored):
    with pytest.raises(UserError):
        Decision.from_dict(stored)


def test_a_review_band_is_not_ignored():
    with pytest.raises(UserError, match="review"):
        Decision.from_dict({"threshold": 0.5, "review": [0.4, 0.6]})


def test_fixed_takes_the_given_threshold():
    assert choose_threshold([0.1, 0.9], [0, 1], "fixed").threshold == 0.5
    assert choose_threshold([0.1, 0.9], [0, 1], "fixed", 0.3).threshold == 0.3
    with pytest.raises(UserError, match="fixed or balanced"):
        choose_threshold([0.1, 0.9], [0, 1], "f1")


def test_balanced_sits_in_the_middle_of_the_widest_of_the_best_gaps():
    assert choose_threshold([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1], "balanced").threshold == pytest.approx(0.4)
    # cuts in (0.1, 0.2) and (0.3, 0.7) both reach 3/4: the second gap is wider
    chosen = choose_threshold([0.1, 0.2, 0.3, 0.7], [0, 1, 0, 1], "balanced")
    assert chosen.threshold == pytest.approx(0.5)
    assert "75.0%" in chosen.source


@given(labelled)
def test_balanced_finds_the_best_balanced_accuracy_and_no_photo_sits_on_it(pairs):
    p, y = np.array([p for p, _ in pairs]), np.array([y for _, y in pairs], dtype=int)
    decision = choose_threshold(p, y, "balanced")
    assert 0 <= decision.threshold <= 1
    if decision.source.startswith("balanced"):
        best = max(balanced_accuracy_score(y, p >= t) for t in np.unique(p))
        assert balanced_accuracy_score(y, decision.rejects(p)) == pytest.approx(best)
        assert decision.threshold not in p
    else:
        assert decision.threshold == 0.5


def test_neighbouring_scores_leave_a_usable_threshold():
    low = 0.5
    high = float(np.nextafter(low, 1))
    assert choose_threshold([low, high], [0, 1], "balanced").verdicts([low, high]).tolist() == ["PASS", "REJECT"]


@pytest.mark.parametrize(
    ("probability", "label", "reason"),
    [
        ([], [], "no validation photos"),
        ([0.2, 0.3], [1, 1], "all 2 validation photos are Incorrect"),
        ([0.4, 0.4], [0, 1], "beats chance"),
        ([0.9, 0.1], [0, 1], "beats chance"),
        ([0.9, np.nan], [0, 1], "finite"),
    ],
)
def test_where_validation_cannot_tell_the_fixed_threshold_stays_and_says_why(probability, label, reason):
    decision = choose_threshold(probability, label, "balanced", fixed=0.6)
    assert decision.threshold == 0.6
    assert decision.source.startswith("fixed")
    assert reason in decision.source
