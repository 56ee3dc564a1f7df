"""Intervals over folds: the published formula, and simulated cross-validations with a known true value."""

import numpy as np
import pytest
from scipy import stats

from qc_lightning.metrics.folds import nadeau_bengio


def test_it_is_the_corrected_resampled_t_interval() -> None:
    values = [0.91, 0.87, 0.95, 0.9, 0.84, 0.93, 0.88, 0.9, 0.92, 0.86]
    found = nadeau_bengio(values, held_out=1 / 9)
    scale = np.sqrt((1 / 10 + 1 / 9) * np.var(values, ddof=1))
    low, high = stats.t.interval(0.95, 9, loc=np.mean(values), scale=scale)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high), abs=1e-12)


def test_it_covers_where_a_plain_t_interval_does_not() -> None:
    """Three times five folds of 100 photos; the classifier is the mean of its training photos."""
    rng, held, plain = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        photos = rng.normal(size=100)
        errors = []
        for _ in range(3):
            for fold in np.array_split(rng.permutation(100), 5):
                trained = np.delete(photos, fold).mean()
                errors.append(((photos[fold] - trained) ** 2).mean())
        truth = 1 + 1 / 80
        found = nadeau_bengio(errors, 0.25)
        held += found.low <= truth <= found.high
        half = stats.t.ppf(0.975, 14) * stats.sem(errors)
        plain += abs(np.mean(errors) - truth) <= half
    assert held >= 930
    assert plain <= 800
