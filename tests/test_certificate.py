"""Guarantees: published tables, SciPy's exact intervals, and simulated qualifications with a known true rate."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from qc_lightning.metrics.certificate import (
    band,
    by_part,
    escape_limit,
    find_limits,
    lower_bound,
    most_misses,
    overkill_limit,
    parts_needed,
    upper_bound,
)
from qc_lightning.metrics.decision import Decision


# the plans of 0, 1, 2 and 3 misses at 95%, as in tables of attribute sampling (success runs)
@pytest.mark.parametrize(
    ("rate", "parts"),
    [
        (0.10, [29, 46, 61, 76]),
        (0.05, [59, 93, 124, 153]),
        (0.02, [149, 236, 313, 386]),
        (0.01, [299, 473, 628, 773]),
    ],
)
def test_parts_needed_are_those_of_the_tables(rate: float, parts: list[int]) -> None:
    assert [parts_needed(rate, misses) for misses in range(4)] == parts
    for misses, n in enumerate(parts):
        assert most_misses(n, rate) == misses
        assert most_misses(n - 1, rate) == misses - 1


@given(st.integers(0, 400), st.floats(0.001, 0.5), st.floats(0.5, 0.999))
def test_the_most_misses_are_the_largest_that_the_binomial_allows(n: int, rate: float, confidence: float) -> None:
    k = most_misses(n, rate, confidence)
    assert k < 0 or binom.cdf(k, n, rate) <= (1 - confidence) * (1 + 1e-9)
    assert binom.cdf(k + 1, n, rate) > (1 - confidence) * (1 - 1e-9)


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0.5, 0.999))
def test_bounds_are_scipys_one_sided_clopper_pearson(n: int, share: float, confidence: float) -> None:
    k = round(share * n)
    less = binomtest(k, n, alternative="less").proportion_ci(confidence, method="exact")
    greater = binomtest(k, n, alternative="greater").proportion_ci(confidence, method="exact")
    assert upper_bound(k, n, confidence) == pytest.approx(less.high, abs=1e-12)
    assert lower_bound(k, n, confidence) == pytest.approx(greater.low, abs=1e-12)


def test_bounds_are_at_95_percent_unless_another_confidence_is_given() -> None:
    ends = [binomtest(3, 30, alternative=side).proportion_ci(0.95, method="exact") for side in ("less", "greater")]
    assert (upper_bound(3, 30), lower_bound(3, 30)) == pytest.approx((ends[0].high, ends[1].low), abs=1e-12)


def test_27_parts_without_an_escape() -> None:
    assert upper_bound(0, 27) == pytest.approx(0.105, abs=5e-4)
    assert upper_bound(0, 30) == pytest.approx(0.095, abs=5e-4)
    text = str(escape_limit(np.linspace(0.5, 0.9, 27), 0.05))
    assert "27 Incorrect parts without an escape certify 10.5% at 95% confidence; 32 more for 5%" in text
    assert "0 Correct parts certify nothing; 29 parts are needed for 10%" in str(overkill_limit(np.zeros(0), 0.1))
    assert "overkill rate 5% not shown: 1 of 59 Correct parts score 1" in str(overkill_limit(np.ones(59), 0.05))


def test_the_worst_photo_decides_for_a_part() -> None:
    score, bad, names = by_part(np.array([0.2, 0.9, 0.4, 0.1]), np.array([0, 1, 0, 0]), ["b", "a", "b", "a"])
    assert names == ["a", "b"]
    assert score.tolist() == [0.9, 0.4]
    assert bad.tolist() == [True, False]


scores = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=29, max_size=80)


@given(scores)
def test_the_parts_that_gave_a_threshold_stay_on_their_side(values: list[float]) -> None:
    """In double and single precision and after a CSV; no more parts are missed than allowed."""
    score = np.array(values)
    text = io.StringIO()
    csv.writer(text).writerow(map(repr, values))
    read = np.array([float(cell) for cell in next(csv.reader([text.getvalue()]))])
    for limit in (escape_limit(score, 0.1), overkill_limit(score, 0.1)):
        if limit.threshold is None:
            assert limit.kind == "overkill"
            assert (score.astype(np.float32) == 1).sum() > limit.allowed
            continue
        threshold = float(repr(limit.threshold))
        assert np.float32(threshold) == threshold
        for same in (score, read, score.astype(np.float32)):
            passed = Decision(threshold, "").verdicts(same) == "PASS"
            misses = passed.sum() if limit.kind == "escape" else (~passed).sum()
            assert misses <= limit.allowed


def test_one_threshold_where_it_keeps_both_rates_and_a_band_where_none_does() -> None:
    apart = np.concatenate([np.linspace(0, 0.3, 60), np.linspace(0.7, 1, 60)])
    bad = np.arange(120) >= 60
    threshold, review = band(find_limits(apart, bad, 0.05, 0.05))
    assert review is None
    assert 0.7 - 2.2e-4 < threshold < 0.7, "a thousandth of a logit below the score that gave it"
    mixed = np.concatenate([np.linspace(0, 0.8, 60), np.linspace(0.2, 1, 60)])
    limits = find_limits(mixed, bad, 0.05, 0.05)
    threshold, review = band(limits)
    assert review is not None
    assert threshold == review[0] == pytest.approx(0.2, abs=2.5e-4)
    assert review[1] == pytest.approx(0.8, abs=2.5e-4)
    with pytest.raises(ValueError, match="not shown"):
        band(find_limits(mixed, bad, 0.05, 0.01))


def test_both_claims_at_once_take_more_parts() -> None:
    score, bad = np.linspace(0, 1, 118), np.arange(118) >= 59
    assert all(limit.shown for limit in find_limits(score, bad, 0.05, 0.05))
    assert not any(limit.shown for limit in find_limits(score, bad, 0.05, 0.05, together=True))
    assert find_limits(score, bad, 0.05, 0.05, together=True)[0].confidence == pytest.approx(0.975)


@pytest.mark.parametrize(("parts", "rate"), [(59, 0.05), (100, 0.05), (30, 0.1), (400, 0.02)])
@pytest.mark.parametrize("ties", [False, True])
def test_a_certified_rate_is_exceeded_in_at_most_5_of_100_qualifications(parts: int, rate: float, ties: bool) -> None:
    """Scores uniform on [0, 1]: a fraction t of the parts is below a threshold t; with ties that of the step below."""
    rng = np.random.default_rng(parts)
    exceeded = {"escape": 0, "overkill": 0}
    for _ in range(2000):
        score = rng.random(parts)
        if ties:
            score = np.ceil(score * 50) / 50
        low, high = escape_limit(score, rate).threshold, overkill_limit(score, rate).threshold
        assert low is not None
        # a tied score of s represents the fractions from s - 1/50 on
        exceeded["escape"] += ((np.ceil(low * 50 - 1e-4) - 1) / 50 if ties else low) > rate
        exceeded["overkill"] += high is not None and (1 - np.floor(high * 50) / 50 if ties else 1 - high) > rate
    assert max(exceeded.values()) <= 2000 * 0.06
    if not ties:  # and the claim is no looser than necessary
        assert min(exceeded.values()) >= 2000 * (binom.cdf(most_misses(parts, rate), parts, rate) - 0.015)


def test_parts_with_several_photos_are_counted_once() -> None:
    """Three photos per part, the worst one uniform: the claim holds by part and fails if photos are counted."""
    rng = np.random.default_rng(5)
    rate, parts = 0.05, 100
    label, part = np.ones(3 * parts, dtype=int), np.repeat(np.arange(parts), 3).astype(str).tolist()
    exceeded = {"parts": 0, "photos": 0}
    for _ in range(2000):
        worst = rng.random(parts)
        photos = (worst[:, None] * np.column_stack([np.ones(parts), 1 - 0.02 * rng.random((parts, 2))])).ravel()
        score, bad, _ = by_part(photos, label, part)
        assert bad.all()
        exceeded["parts"] += float(escape_limit(score, rate).threshold or 0) > rate
        exceeded["photos"] += float(escape_limit(photos, rate).threshold or 0) > rate
    assert exceeded["parts"] <= 2000 * 0.06
    assert exceeded["photos"] > 2000 * 0.1


def test_two_claims_hold_together_in_95_of_100_qualifications() -> None:
    rng, missed = np.random.default_rng(8), 0
    bad = np.arange(200) < 100
    for _ in range(2000):
        low, high = (limit.threshold for limit in find_limits(rng.random(200), bad, 0.05, 0.05, together=True))
        missed += (low or 0) > 0.05 or (high is not None and 1 - high > 0.05)
    assert missed <= 2000 * 0.06


# Incorrect parts, then by (rate, confidence) how many of them pass at the highest threshold that MAPIE 1.6.0 certifies:
# BinaryClassificationController(risk=BinaryRisk(y_pred == 0 given y_true == 1), fwer_method="fixed_sequence"), its
# thresholds being 0 and the parts' scores; -1 where it certifies none. With its default, bonferroni_holm, it certifies
# none of 100 parts at 5%.
MAPIE_PARTS = [20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220, 240, 260, 280, 300, 320, 340, 360, 380, 400, 420,
               113, 116, 179, 186, 305, 312, 333, 340, 361, 368, 396, 410]  # fmt: skip
MAPIE = {
    (0.2, 0.95): [0, 3, 6, 9, 13, 16, 19, 23, 26, 30, 33, 37, 41, 44, 48, 51, 55, 59, 62, 66, 70,
                  14, 14, 25, 26, 49, 49, 54, 55, 59, 60, 65, 68],
    (0.1, 0.95): [-1, 0, 1, 3, 4, 6, 7, 9, 11, 12, 14, 16, 17, 19, 20, 22, 24, 26, 28, 29, 31,
                  5, 6, 11, 11, 21, 22, 24, 24, 25, 26, 29, 30],
    (0.05, 0.95): [-1, -1, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9, 10, 10, 11, 12, 13,
                   1, 1, 3, 4, 8, 9, 9, 10, 11, 11, 12, 13],
    (0.02, 0.95): [-1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3,
                   -1, -1, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3],
    (0.05, 0.9): [-1, -1, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 10, 12, 13, 13, 14,
                  2, 2, 4, 5, 9, 10, 11, 10, 12, 12, 12, 13],
    (0.05, 0.99): [-1, -1, -1, -1, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 10, 10,
                   0, 0, 2, 2, 5, 6, 6, 7, 8, 8, 9, 10],
}  # fmt: skip


@pytest.mark.parametrize("claim", MAPIE)
def test_mapie_is_never_looser_and_at_most_one_escape_stricter(claim: tuple[float, float]) -> None:
    """Its ceil(n * (k / n)) counts one escape more for some n."""
    stricter = []
    for parts, escapes in zip(MAPIE_PARTS, MAPIE[claim], strict=True):
        score = np.random.default_rng(parts).permutation(np.arange(1, parts + 1) / (parts + 2))
        threshold = escape_limit(score, *claim).threshold
        ours = -1 if threshold is None else int((Decision(threshold, "").verdicts(score) == "PASS").sum())
        assert 0 <= ours - escapes <= 1
        stricter += [parts] * (ours - escapes)
    assert len(stricter) <= 6, "the last twelve sizes were picked because they differ for some claim"
