"""Comparison of two runs: checked with SciPy, published intervals, hand-computed tables and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from qc_lightning.metrics.comparison import Difference, compare, mcnemar_exact, paired_interval
from qc_lightning.metrics.verdict import Verdict

counts = st.integers(0, 60)
WORDS = (Verdict.PASS, Verdict.REJECT)


@given(counts, counts)
def test_p_is_scipys_binomial_test(only_candidate: int, only_baseline: int) -> None:
    n = only_candidate + only_baseline
    expected = binomtest(only_candidate, n, 0.5).pvalue if n else 1.0
    assert mcnemar_exact(only_candidate, only_baseline) == pytest.approx(expected, rel=1e-9)


def test_p_of_large_and_hand_made_counts() -> None:
    assert mcnemar_exact(0, 5) == pytest.approx(2 / 32)
    assert mcnemar_exact(1, 8) == pytest.approx(2 * (1 + 9) / 512)
    for pair in ((400_000, 402_000), (3_000, 2_500), (0, 900)):
        assert mcnemar_exact(*pair) == pytest.approx(binomtest(pair[0], sum(pair), 0.5).pvalue, rel=1e-6)
    assert mcnemar_exact(0, 3000) == 0.0, "smaller than any number is"


@pytest.mark.parametrize(
    ("table", "interval"),
    [
        # examples of Newcombe 1998, as printed there
        ((36, 12, 2, 0), (0.0569, 0.3404)),
        ((18, 12, 2, 18), (0.0562, 0.3290)),
        ((53, 0, 0, 1), (-0.0729, 0.0729)),
        ((0, 30, 0, 0), (0.8395, 1.0)),
    ],
)
def test_interval_is_newcombes(table: tuple[int, int, int, int], interval: tuple[float, float]) -> None:
    assert paired_interval(*table) == pytest.approx(interval, abs=1e-4)


@given(counts, counts, counts, counts, st.floats(1, 5))
def test_interval_is_fair_and_in_range(both: int, here: int, there: int, neither: int, effect: float) -> None:
    if both + here + there + neither == 0:
        return
    low, high = paired_interval(both, here, there, neither, effect)
    value = (here - there) / (both + here + there + neither)
    assert -1 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1
    assert paired_interval(both, there, here, neither, effect) == pytest.approx((-high, -low), abs=1e-12)


def test_interval_of_grouped_photos_is_that_of_fewer_photos() -> None:
    assert paired_interval(40, 12, 4, 44, design_effect=2) == pytest.approx(paired_interval(20, 6, 2, 22))


def test_interval_holds_the_true_difference_in_95_of_100() -> None:
    rng = np.random.default_rng(0)
    share = np.array([0.7, 0.15, 0.05, 0.1])
    tables = rng.multinomial(80, share, size=2000)
    held = [low <= 0.1 <= high for low, high in (paired_interval(*map(float, table)) for table in tables)]
    assert 0.935 <= np.mean(held) <= 0.975


def verdicts(*counts: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Verdicts of both runs and labels: for each (count, here, there) that number of Incorrect photos."""
    here = np.concatenate([np.full(n, WORDS[a]) for n, a, _ in counts])
    there = np.concatenate([np.full(n, WORDS[b]) for n, _, b in counts])
    return here, there, np.ones(len(here), dtype=int)


def by_photo(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_better_worse_cannot_tell() -> None:
    # of 60 Incorrect photos the first run alone catches 12, the second alone 1
    here, there, label = verdicts((40, 1, 1), (12, 1, 0), (1, 0, 1), (7, 0, 0))
    found = compare(here, there, label, by_photo(60))
    escapes = found["escape_rate"]
    assert (escapes.candidate, escapes.baseline) == (8 / 60, 19 / 60)
    assert (escapes.only_candidate, escapes.only_baseline) == (1, 12)
    assert escapes.p == pytest.approx(binomtest(1, 13, 0.5).pvalue)
    assert escapes.verdict == "better", "fewer escapes"
    assert found["accuracy"].verdict == "better", "more right verdicts"
    assert "overkill_rate" not in found, "no Correct photo"
    back = compare(there, here, label, by_photo(60))
    assert back["escape_rate"].verdict == back["accuracy"].verdict == "worse"
    assert back["accuracy"].low == pytest.approx(-found["accuracy"].high)
    same = compare(here, here, label, by_photo(60))["accuracy"]
    assert (same.verdict, same.p) == ("cannot tell", 1.0)
    assert same.low < 0 < same.high, "that no photo differs does not prove that none ever will"


def test_rejecting_everything_is_better_on_escapes_and_worse_on_overkill() -> None:
    label = np.array([1] * 40 + [0] * 40)
    there = np.array(([Verdict.REJECT] * 20 + [Verdict.PASS] * 20) * 2)
    found = compare(np.full(80, Verdict.REJECT), there, label, by_photo(80))
    assert found["escape_rate"].verdict == "better"
    assert found["overkill_rate"].verdict == "worse"
    assert found["accuracy"].verdict == "cannot tell"


def test_a_reviewed_part_is_neither_right_nor_an_escape_nor_an_overkill() -> None:
    label = np.array([1] * 40 + [0] * 40)
    there = np.where(label == 1, Verdict.REJECT, Verdict.PASS)
    found = compare(np.full(80, Verdict.REVIEW), there, label, by_photo(80))
    assert (found["accuracy"].candidate, found["accuracy"].baseline) == (0.0, 1.0)
    assert found["escape_rate"].candidate == found["overkill_rate"].candidate == 0.0


def test_ten_photos_of_one_part_are_one_vote() -> None:
    """Twelve differing photos are proof as twelve parts, but not as ten photos of one part and two of another."""
    here, there, label = verdicts((12, 1, 0), (48, 1, 1))
    alone = compare(here, there, label, by_photo(60))["accuracy"]
    grouped = compare(here, there, label, ["a"] * 10 + ["b"] * 2 + by_photo(48))["accuracy"]
    assert alone.p == pytest.approx(2 / 2**12)
    assert grouped.p == pytest.approx(2 / 2**2), "two votes, both for here"
    assert grouped.high - grouped.low > alone.high - alone.low
    assert (alone.verdict, grouped.verdict) == ("better", "cannot tell")
    assert grouped.only_candidate == 12


def test_copies_of_each_photo_prove_no_more_than_the_photos() -> None:
    """Each photo three times in its group gives the p-value and nearly the interval of each photo once."""
    here, there, label = verdicts((10, 1, 0), (2, 0, 1), (30, 1, 1), (8, 0, 0))
    once = compare(here, there, label, by_photo(50))["accuracy"]
    thrice = compare(*(np.repeat(x, 3) for x in (here, there, label)), np.repeat(by_photo(50), 3).tolist())["accuracy"]
    assert thrice.p == once.p
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=0.01)


def test_a_difference_is_told_in_one_sentence() -> None:
    text = str(Difference("accuracy", 0.9, 0.8, 0.02, 0.17, 12, 2, 0.0129, True, 100))
    assert text == (
        "accuracy: better. candidate 90.0%, baseline 80.0%, +10.0 points (+2.0 to +17.0); only candidate 12, only "
        "baseline 2 of 100 photos, p = 0.013"
    )


def test_a_small_p_alone_makes_no_difference() -> None:
    """Both must show the difference: the test by parts, and the interval by photos."""
    alone = Difference("accuracy", 0.9, 0.8, -0.01, 0.2, 12, 2, 0.01, True, 100)
    assert alone.verdict == "cannot tell", "the interval holds 0"
    assert Difference("accuracy", 0.9, 0.8, 0.01, 0.2, 12, 2, 0.06, True, 100).verdict == "cannot tell", (
        "p is too large"
    )
    assert Difference("accuracy", 0.9, 0.8, 0.01, 0.2, 12, 2, 0.01, True, 100).verdict == "better"
    assert Difference("escape rate", 0.9, 0.8, 0.01, 0.2, 12, 2, 0.01, False, 100).verdict == "worse"


def test_95_percent_is_not_90() -> None:
    """In 4,000 pairs of runs with a known difference the interval misses it in 5%, not in 10%."""
    rng = np.random.default_rng(3)
    tables = rng.multinomial(200, [0.7, 0.12, 0.06, 0.12], size=4000)
    intervals = [paired_interval(*map(float, table)) for table in tables]
    missed = np.mean([not low <= 0.06 <= high for low, high in intervals])
    assert 0.035 <= missed <= 0.065
