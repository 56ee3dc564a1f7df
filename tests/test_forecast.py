"""Forecasts of caught, escaped, rejected and reviewed parts, compared with hand-computed values."""

import re

import numpy as np
import pytest
from scipy.stats import binomtest

from qc_lightning.metrics.go_live import _per_1000, review_forecast
from qc_lightning.metrics.verdict import Verdict


def test_per_1000_parts_adds_up_by_hand():
    """10 bad parts: 7 rejected, 2 passed, 1 to review; 50 good ones: 45 passed, 4 rejected, 1 to review; 2% bad."""
    bad = {Verdict.REJECT: 7, Verdict.PASS: 2, Verdict.REVIEW: 1}
    good = {Verdict.PASS: 45, Verdict.REJECT: 4, Verdict.REVIEW: 1}
    counted = _per_1000(0.02, {"incorrect": bad, "correct": good})
    got = [counted[key]["value"] for key in ("caught", "escaped", "rejected_for_nothing", "to_review")]
    np.testing.assert_allclose(got, [20 * 0.7, 20 * 0.2, 980 * 0.08, 20 * 0.1 + 980 * 0.02], rtol=1e-12)
    interval = binomtest(2, 10).proportion_ci(method="wilson")
    np.testing.assert_allclose((counted["escaped"]["low"], counted["escaped"]["high"]), 20 * np.array(interval))
    none = dict.fromkeys(Verdict, 0)
    assert _per_1000(0.02, {"incorrect": none, "correct": good})["to_review"]["value"] is None


def test_how_many_parts_a_person_will_look_at_by_hand() -> None:
    """2 of 10 Incorrect parts and 3 of 50 Correct ones to review: 1% of the first interval and 99% of the second."""
    bad = np.arange(60) < 10
    reviewed = np.isin(np.arange(60), [0, 1, 20, 21, 22])
    ends = [binomtest(*counts).proportion_ci(method="wilson") for counts in ((2, 10), (3, 50))]
    low, high = (0.01 * one + 0.99 * other for one, other in zip(*ends, strict=True))
    (line,) = review_forecast(reviewed, bad, 0.01)
    found = [float(number) for number in re.findall(r"([0-9.]+)%", line)]
    assert found == pytest.approx([1, 100 * low, 100 * high], rel=1e-2)
    assert len(review_forecast(reviewed, bad, None)) == 3
    assert review_forecast(np.zeros(60, dtype=bool), bad, 0.01) == []
    for one_class in (np.ones(60, dtype=bool), np.zeros(60, dtype=bool)):
        assert review_forecast(reviewed, one_class, 0.01) == []
