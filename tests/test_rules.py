"""Choice of a decision: each rule compared with scikit-learn or with hand-computed values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score

from qc_lightning.config.decisions import CostConfig
from qc_lightning.core.errors import UserError
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.rules import choose_decision, exceeded_by
from qc_lightning.metrics.verdict import Verdict
from settings import decision_settings


def choose_threshold(probability, label, rule, fixed=0.5, **more):
    return choose_decision(probability, label, decision_settings(rule, fixed, **more))


labelled = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), max_size=40)


def test_fixed_takes_the_given_threshold():
    assert choose_threshold([0.1, 0.9], [0, 1], "fixed").threshold == 0.5
    assert choose_threshold([0.1, 0.9], [0, 1], "fixed", 0.3).threshold == 0.3
    with pytest.raises(UserError, match="one of fixed, even, balanced"):
        choose_threshold([0.1, 0.9], [0, 1], "best")


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
        assert balanced_accuracy_score(y, decision.verdicts(p) == Verdict.REJECT) == pytest.approx(best)
        assert decision.threshold not in p
    elif y.any():
        assert decision.threshold == 0.5
    else:
        assert decision.source.startswith("overkill") or not len(y)


def test_even_is_where_a_logistic_regression_of_equal_classes_turns():
    draw = np.random.default_rng(0)
    label = (np.arange(3000) % 5 == 0).astype(int)
    logit = 1.5 * draw.normal(size=3000) + 2 * label - 3
    theirs = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-9).fit(logit[:, None], label)
    turns = -theirs.intercept_[0] / theirs.coef_[0, 0]
    decision = choose_threshold(1 / (1 + np.exp(-logit)), label, "even")
    # Platt's softened targets move it a little
    assert np.log(decision.threshold / (1 - decision.threshold)) == pytest.approx(turns, abs=0.01)
    reached = balanced_accuracy_score(label, 1 / (1 + np.exp(-logit)) >= decision.threshold)
    assert f"balanced accuracy {reached:.1%} on 3000 validation photos (600 Incorrect)" in decision.source


def test_even_of_probabilities_at_the_ends_is_between_them():
    assert choose_threshold([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1], "even").threshold == pytest.approx(0.5)


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


both_classes = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=4, max_size=40).filter(
    lambda rows: len({y for _, y in rows}) == 2
)


def every_cut(p):
    """A threshold for each possible split of the scores, except reject-all and pass-all."""
    return np.unique(p)[1:]


@given(both_classes)
@settings(deadline=None)
def test_f1_finds_what_scikit_learn_calls_the_best(rows):
    p, y = (np.array(column) for column in zip(*rows, strict=True))
    decision = choose_threshold(p, y, "f1")
    if decision.source.startswith("f1"):
        best = max(2 * (p >= cut)[y == 1].sum() / (y.sum() + (p >= cut).sum()) for cut in every_cut(p))
        assert f1_score(y, p >= decision.threshold) == pytest.approx(best)


@settings(deadline=None, max_examples=50)
@given(both_classes, st.floats(0.01, 0.5), st.floats(0, 20), st.sampled_from([None, 0.0, 0.2, 1.0]))
def test_cost_finds_the_cheapest_decision(rows, bad_share, escape_cost, review_cost):
    """Compared with all pairs of thresholds."""
    p, y = (np.array(column) for column in zip(*rows, strict=True))
    costs = CostConfig(escape=escape_cost, overkill=1.0, review=review_cost)
    decision = choose_threshold(p, y, "cost", costs=costs, bad_share=bad_share)
    if not decision.source.startswith("cost"):
        return

    def cost(verdicts):
        bad, good = verdicts[y == 1], verdicts[y == 0]
        review = 0.0 if review_cost is None else review_cost
        of_bad = (bad == "PASS").mean() * escape_cost + (bad == "REVIEW").mean() * review
        of_good = (good == "REJECT").mean() + (good == "REVIEW").mean() * review
        return bad_share * of_bad + (1 - bad_share) * of_good

    cuts = every_cut(p)
    bands = [(low, high) for low in cuts for high in cuts if low <= high and (review_cost is not None or low == high)]
    least = min(cost(Decision(low, "", (low, high)).verdicts(p)) for low, high in bands)
    assert cost(decision.verdicts(p)) == pytest.approx(least, abs=1e-9)
    assert review_cost is not None or decision.review is None


@given(both_classes, st.floats(0.01, 0.6), st.one_of(st.none(), st.floats(0.01, 0.6)))
def test_escape_keeps_its_rates_on_the_photos_that_it_was_chosen_on(rows, escape_rate, overkill_rate):
    p, y = (np.array(column) for column in zip(*rows, strict=True))
    decision = choose_threshold(p, y, "escape", escape_rate=escape_rate, overkill_rate=overkill_rate)
    if not decision.source.startswith("escape"):
        return
    verdicts = decision.verdicts(p)
    assert (verdicts[y == 1] == "PASS").mean() <= escape_rate + 1e-9
    if overkill_rate is not None and p.max() < 1:
        assert (verdicts[y == 0] == "REJECT").mean() <= overkill_rate + 1e-9
    if decision.review is None:  # one more escape would be too many
        higher = [cut for cut in every_cut(p) if cut > decision.threshold and (p[y == 1] < cut).mean() <= escape_rate]
        assert all((p >= cut).sum() == (p >= decision.threshold).sum() for cut in higher)


def test_a_rule_asks_for_what_it_needs():
    with pytest.raises(UserError, match=r"decision\.escape_rate"):
        decision_settings("escape")
    with pytest.raises(UserError, match=r"decision\.bad_share"):
        decision_settings("cost")
    with pytest.raises(UserError, match="between 0 and 1"):
        decision_settings("escape", escape_rate=1.0)


@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (99, 0.05), (39, 0.05), (9, 0.1), (99, 0.01)])
def test_a_further_value_exceeds_the_limit_as_rarely_as_promised(count, rate):
    """Each of n + 1 exchangeable values is the new one with equal probability: count all of them."""
    values = np.arange(count + 1.0)
    above = [value > exceeded_by(np.delete(values, place), rate) for place, value in enumerate(values)]
    assert np.mean(above) <= rate + 1e-12
    assert np.mean(above) > rate - 1 / (count + 1) - 1e-12  # and not much more rarely
    assert exceeded_by(np.arange(count - 1.0), rate) is None or count > 1 / rate


def test_the_largest_of_19_values_is_exceeded_by_one_of_20():
    assert exceeded_by(np.arange(19.0), 0.05) == 18
    assert exceeded_by(np.arange(20.0), 0.05) == 19
    assert exceeded_by(np.arange(39.0), 0.05) == 37


def test_the_threshold_of_overkills_lies_half_way_to_the_next_correct_photo():
    """The 39th of 40 is exceeded by at most 5%: ceil(0.95 * 41) = 39."""
    correct = np.arange(40) / 100
    assert choose_threshold(correct, np.zeros(40), "overkill").threshold == pytest.approx(0.385)


@pytest.mark.parametrize(("incorrect", "few"), [(19, True), (20, False)])
def test_fewer_than_20_incorrect_photos_set_no_threshold_alone(incorrect, few):
    label = np.arange(100) < incorrect
    source = choose_threshold(np.linspace(0.9, 0.1, 100), label.astype(int), "even").source
    assert ("rests on only" in source) == few
