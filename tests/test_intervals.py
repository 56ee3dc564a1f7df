import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from qc_lightning.metrics.intervals import design_effect, f1_interval, mean_interval, mean_of, proportion, wilson
from qc_lightning.metrics.ranking import ranking


# Newcombe 1998, Statistics in Medicine 17, table I, method 3; the first is 82% of 54 photos
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (44, 54, 0.6916, 0.8962),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_published_intervals(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 500), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy_and_holds_the_proportion(n, share, confidence):
    k = round(share * n)
    low, high = wilson(k, n, confidence)
    expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= k / n <= high <= 1


def test_wilson_with_a_design_effect_is_that_of_fewer_photos():
    assert wilson(40, 100, design_effect=4) == pytest.approx(wilson(10, 25))
    assert wilson(0, 0) == (0.0, 1.0)


def test_design_effect_by_hand():
    # groups of two with 2, 2, 0, 0 hits, p = 1/2: 4 / (3 * 8) * (1 + 1 + 1 + 1) / (1/4)
    success = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    assert design_effect(success, np.array([0, 0, 1, 1, 2, 2, 3, 3])) == pytest.approx(8 / 3)
    # one hit in every pair is more even than chance, which must not narrow the interval
    assert design_effect(np.tile([True, False], 4), np.array([0, 0, 1, 1, 2, 2, 3, 3])) == 1
    assert design_effect(success, np.arange(8)) == 1


def test_design_effect_takes_a_group_for_one_photo_when_nothing_ever_differs():
    # no escape on 3 photos of each of 10 parts must not look like no escape on 30 parts
    effect = design_effect(np.zeros(30, dtype=bool), np.repeat(np.arange(10), 3))
    assert wilson(0, 30, design_effect=effect) == pytest.approx(wilson(0, 10))
    assert design_effect(np.array([True, False]), np.array([4, 4])) == 2


def test_few_escapes_never_bound_the_rate_tighter_than_none():
    group = np.repeat(np.arange(20), 6)
    highs = []
    for hits in range(6):
        success = np.zeros(120, dtype=bool)
        success[6 * np.arange(hits)] = True  # one photo each of different parts
        low, high = proportion(success, group)
        assert low <= hits / 120 <= high
        assert proportion(~success, group) == pytest.approx((1 - high, 1 - low))
        highs.append(high)
    assert highs == sorted(highs)
    assert highs[0] == pytest.approx(wilson(0, 20)[1])
    assert proportion(success, None) == wilson(5, 120)


def scores(rng, n, ties):
    label = rng.integers(0, 2, n)
    label[:2] = 0, 1
    probability = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * (label - 0.5))))
    return (probability.round(1) if ties else probability), label


@pytest.mark.parametrize("ties", [False, True])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40))
def test_auroc_and_average_precision_are_those_of_scikit_learn(ties, seed, n):
    probability, label = scores(np.random.default_rng(seed), n, ties)
    found = ranking(probability, label == 1)
    assert found.auroc == pytest.approx(roc_auc_score(label, probability), abs=1e-12)
    assert found.average_precision == pytest.approx(average_precision_score(label, probability), abs=1e-12)
    for value, (low, high) in (found[:2], found[2:]):
        assert 0 <= low <= value <= high <= 1


def test_f1_is_wilsons_interval_of_as_many_photos_as_give_its_variance():
    """10 Incorrect, 6 caught, 30 Correct, 3 rejected: 6 caught of the 13 that are either, worked out by hand."""
    bad = np.arange(40) < 10
    flagged = np.isin(np.arange(40), [0, 1, 2, 3, 4, 5, 20, 21, 22])
    of_bad, of_good = (10 / 13) ** 2 * 0.6 * 0.4 / 9, (6 / 13 * 30 / 13) ** 2 * 0.1 * 0.9 / 29
    odds = 6 / 13 * 7 / 13
    assert odds / 13 < of_bad + of_good  # the variance of 13 photos: including it makes no interval narrower
    low, high = wilson(6 / 13 * odds / (of_bad + of_good), odds / (of_bad + of_good))
    assert f1_interval(flagged, bad, None) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)), abs=1e-12)


def f1_of(y, hard):
    return 2 * hard[y == 1].sum() / (y.sum() + hard.sum())


def test_the_variances_are_those_of_drawing_photos_anew():
    """With many photos the model matters little: an interval is as wide as 3.9 standard deviations of a bootstrap."""
    rng = np.random.default_rng(7)
    n = 600
    probability, label = scores(rng, n, ties=True)
    flagged = probability >= 0.5
    draws = []
    for _ in range(400):
        drawn = np.concatenate([rng.choice(np.flatnonzero(label == kind), (label == kind).sum()) for kind in (0, 1)])
        y, p, hard = label[drawn], probability[drawn], flagged[drawn]
        found = ranking(p, y == 1)
        draws.append(
            [found.auroc, found.average_precision, (hard[y == 1].mean() + (~hard)[y == 0].mean()) / 2, f1_of(y, hard)]
        )
    bad = label == 1
    found = ranking(probability, bad)
    recall, specificity = flagged[bad], ~flagged[~bad]
    both = mean_of(recall.mean(), specificity.mean(), proportion(recall, None), proportion(specificity, None))
    ours = found.auroc_interval, found.average_precision_interval, both, f1_interval(flagged, bad, None)
    for (low, high), spread in zip(ours, np.std(draws, axis=0), strict=True):
        assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_photos_of_one_part_say_less_than_photos_of_many():
    probability, label = scores(np.random.default_rng(0), 120, ties=False)
    copies = np.repeat(np.arange(120), 5)
    once = ranking(probability, label == 1)
    copied = ranking(probability[copies], label[copies] == 1, copies)
    alone = ranking(probability[copies], label[copies] == 1)
    assert copied.auroc_interval == pytest.approx(once.auroc_interval, abs=0.01)
    assert copied.average_precision_interval == pytest.approx(once.average_precision_interval, abs=0.02)
    assert np.ptp(copied.auroc_interval) > 1.8 * np.ptp(alone.auroc_interval)


def test_one_error_never_bounds_auroc_tighter_than_none():
    label = np.arange(63) < 27
    score = np.where(label, 0.9, 0.1) + np.linspace(0, 0.01, 63)
    lows = []
    for errors in range(5):
        wrong = score.copy()
        wrong[:errors] = 0.1 + 0.01 * np.linspace(0.5, 0.9, 5)[:errors]
        lows.append(ranking(wrong, label).auroc_interval[0])
    assert lows == sorted(lows, reverse=True)
    assert lows[0] < 0.95


def test_the_lower_end_reckons_with_a_photo_that_was_not_met():
    """AUROC by hand: 27 + 36 photos without a mistake, and a third of one of each class that loses half its pairs."""
    label = np.arange(63) < 27
    found = ranking(np.where(label, 0.9, 0.1), label)
    lost = (0.5 / 27 + 0.5 / 36) / 3
    photos = lost * (1 - lost) / ((1 / 27**2 + 1 / 36**2) / 9)
    assert found.auroc_interval == pytest.approx((1 - wilson(lost * photos, photos)[1], 1))
    # the same photos twice give no more information if they are known to be the same parts
    twice = ranking(np.tile(np.where(label, 0.9, 0.1), 2), np.tile(label, 2), np.tile(np.arange(63), 2))
    assert twice.auroc_interval == pytest.approx(found.auroc_interval)
    # 300 Correct photos without signs of a defect, and one that outranks all of 200 Incorrect ones
    label = np.arange(501) < 200
    score = np.where(label, 1.0, 0.0) + np.linspace(0, 0.1, 501)
    without = ranking(score[:500], label[:500]).average_precision_interval
    score[500] = 9
    assert without[0] < ranking(score, label).average_precision, "one such photo was not excluded before it was met"


def test_an_interval_never_vanishes():
    """Equal scores, and completely wrong scores, still give an interval with a width."""
    label = np.arange(40) < 10
    for score in (np.zeros(40), -label.astype(float), label.astype(float)):
        found = ranking(score, label)
        assert np.ptp(found.auroc_interval) > 0.05
        assert np.ptp(found.average_precision_interval) > 0.05
    mirrored = (
        ranking(-(np.linspace(0, 1, 40)[::-1] ** 2), label).auroc_interval,
        ranking(np.linspace(0, 1, 40)[::-1] ** 2, label).auroc_interval,
    )
    assert mirrored[0] == pytest.approx(tuple(1 - end for end in mirrored[1][::-1]), abs=1e-12)


def test_the_mean_of_two_rates_is_as_unsure_as_the_rarer_class():
    """8 of 8 defects caught and 58 of 60 good parts passed, by hand from the two Wilson intervals."""
    caught, passed = wilson(8, 8), wilson(58, 60)
    low, high = mean_of(1.0, 58 / 60, caught, passed)
    assert low == pytest.approx(59 / 60 - np.hypot(1 - caught[0], 58 / 60 - passed[0]) / 2)
    assert high == pytest.approx(59 / 60 + (passed[1] - 58 / 60) / 2)
    assert low < 0.85


def test_the_mean_of_a_loss_by_hand():
    loss = np.array([0.1, 0.2, 0.6])
    half = 1.959964 * loss.std(ddof=1) / 3**0.5 / 0.3
    assert mean_interval(loss, None) == pytest.approx((0.3 * np.exp(-half), 0.3 * np.exp(half)), rel=1e-6)
    pairs = mean_interval(np.repeat(loss, 2), np.repeat(np.arange(3), 2))
    assert pairs[0] < mean_interval(np.repeat(loss, 2), None)[0]
    assert np.isnan(mean_interval(np.zeros(0), None)).all()


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_balanced_accuracy_of_8_and_60_photos_is_covered():
    """A model with 10% escapes and 5% overkill."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(2000):
        caught, passed = rng.random(8) < 0.9, rng.random(60) < 0.95
        low, high = mean_of(caught.mean(), passed.mean(), proportion(caught, None), proportion(passed, None))
        held += low <= 0.925 <= high
    assert 0.93 <= held / 2000 <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("photos", [1, 2])
@pytest.mark.parametrize(("bad", "good", "auroc"), [(8, 60, 0.9), (20, 20, 0.7), (27, 36, 0.95), (60, 60, 0.98)])
def test_intervals_cover_the_true_figure_about_as_often_as_they_say(photos, bad, good, auroc):
    """The full table is in docs/statistics.md; here 600 draws, whose standard error is 1 point."""
    simulated = load("coverage")
    held = simulated.coverage(bad, good, simulated.shift_of(auroc, "equal", photos), "equal", photos, repeats=600)
    for figure, percent in held.items():
        assert 91 <= percent <= (99.9 if auroc > 0.95 else 99), figure


def test_intervals_cost_next_to_nothing():
    probability, label = scores(np.random.default_rng(1), 2000, ties=False)
    start = time.perf_counter()
    for _ in range(5):
        ranking(probability, label == 1, np.arange(2000) // 3)
    assert (time.perf_counter() - start) / 5 < 0.1  # 0.002 s on an idle core
