import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, rankdata
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from qc_lightning.metrics.intervals import _weighted, bootstrap, design_effect, proportion, wilson

FIGURES = ("loss", "balanced_accuracy", "f1", "auroc", "average_precision")


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
    # one hit in every pair is more even than chance: still no bonus
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
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 40))
@settings(max_examples=40, deadline=None)
def test_weighted_figures_are_those_of_scikit_learn(ties, seed, n):
    rng = np.random.default_rng(seed)
    probability, label = scores(rng, n, ties)
    weight = rng.integers(0, 4, size=(3, n)).astype(float)
    weight[:, :2] += 1  # both classes are drawn
    order = np.argsort(-probability, kind="stable")
    p, y, w = probability[order], label[order], weight[:, order]
    starts = np.flatnonzero(np.concatenate(([True], p[1:] != p[:-1])))
    loss, rejected = rng.random(n), p >= 0.5
    ours = _weighted(w, loss, y == 1, rejected, starts)
    for row, mine in zip(w, ours.T, strict=True):
        theirs = [
            np.average(loss, weights=row),
            balanced_accuracy_score(y, rejected, sample_weight=row),
            f1_score(y, rejected, sample_weight=row),
            roc_auc_score(y, p, sample_weight=row),
            average_precision_score(y, p, sample_weight=row),
        ]
        assert mine == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("size", [1, 4])
def test_bootstrap_agrees_with_drawing_photos_one_by_one(size):
    rng = np.random.default_rng(7)
    n = 120
    probability, label = scores(rng, n, ties=True)
    group = np.arange(n) // size
    loss = rng.gamma(1.0, size=n)
    ours = bootstrap(probability, loss, label, probability >= 0.5, group, resamples=4000)
    members = [np.flatnonzero(group == g) for g in range(n // size)]
    draws = []
    for _ in range(1500):
        drawn = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
        bad, p = label[drawn] == 1, probability[drawn]
        hard, n1 = p >= 0.5, bad.sum()
        tp = (hard & bad).sum()
        wins = rankdata(p)[bad].sum() - n1 * (n1 + 1) / 2
        recall, specificity = tp / n1, (~hard & ~bad).sum() / (n - n1)
        f1 = 2 * tp / (n1 + hard.sum())
        draws.append([loss[drawn].mean(), (recall + specificity) / 2, f1, wins / (n1 * (n - n1))])
    for name, low, high in zip(FIGURES, *np.quantile(draws, (0.025, 0.975), axis=0), strict=False):
        assert ours[name] == pytest.approx((low, high), abs=0.15 * (high - low)), name


def test_photos_of_one_part_say_less_than_photos_of_many():
    rng = np.random.default_rng(0)
    probability, label = scores(rng, 40, ties=False)
    copies = np.repeat(np.arange(40), 5)
    args = probability[copies], np.zeros(200), label[copies], probability[copies] >= 0.5

    def width(interval):
        return interval[1] - interval[0]

    assert width(bootstrap(*args, copies)["auroc"]) > 1.8 * width(bootstrap(*args)["auroc"])


def test_a_flawless_result_claims_no_certainty():
    label = np.array([0] * 30 + [1] * 14)
    found = bootstrap(label.astype(float), np.zeros(44), label, label == 1)
    for name in FIGURES[1:]:
        assert found[name] == pytest.approx(wilson(14, 14)), name


def test_the_same_seed_gives_the_same_interval():
    probability, label = scores(np.random.default_rng(3), 60, ties=False)
    args = probability, probability, label, probability >= 0.5
    assert bootstrap(*args) == bootstrap(*args)
    assert bootstrap(*args) != bootstrap(*args, seed=1)


@pytest.mark.parametrize("label", [[], [1], [0, 0, 0]])
def test_what_is_undefined_has_no_interval(label):
    label = np.array(label, dtype=int)
    p = np.linspace(0.2, 0.8, len(label))
    found = bootstrap(p, p, label, p >= 0.5)
    assert np.isnan(found["auroc"]).all()
    assert np.isnan(found["balanced_accuracy"]).all()


def test_the_auroc_interval_covers_the_true_value_about_as_often_as_it_says():
    # two unit normals 1.2 apart: the true AUROC is Phi(1.2 / sqrt 2)
    rng, truth, hits, runs = np.random.default_rng(5), norm.cdf(1.2 / 2**0.5), 0, 250
    label = np.repeat([0, 1], 40)
    for _ in range(runs):
        z = rng.normal(size=80) + 1.2 * label
        low, high = bootstrap(1 / (1 + np.exp(-z)), z, label, z > 0, resamples=300)["auroc"]
        hits += low <= truth <= high
    assert 0.88 <= hits / runs <= 0.99


@pytest.mark.slow
def test_seventy_thousand_photos_take_seconds():
    probability, label = scores(np.random.default_rng(1), 70_000, ties=False)
    start = time.perf_counter()
    low, high = bootstrap(probability, probability, label, probability >= 0.5)["auroc"]
    assert time.perf_counter() - start < 6  # 0.7 s on an idle core
    assert low < roc_auc_score(label, probability) < high
