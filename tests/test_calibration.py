"""Ranking and calibrating scores: compared with scikit-learn and with the definitions."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from qc_lightning.metrics.calibration import auroc, auroc_gain, calibration, platt, uncalibrated
from qc_lightning.metrics.curves import reliability_of


def test_auroc_and_platt_scaling() -> None:
    draw = np.random.RandomState(0)
    label = np.arange(400) % 4 == 0
    score = np.round(3 * label + draw.normal(size=400) * 2, 1) * 7 - 40
    assert auroc(score, label) == pytest.approx(roc_auc_score(label, score))
    slope, offset = platt(score, label)
    theirs = LogisticRegression(C=1e6, class_weight="balanced", tol=1e-10, max_iter=1000).fit(score[:, None], label)
    assert slope == pytest.approx(theirs.coef_[0, 0], rel=0.05)
    assert offset == pytest.approx(theirs.intercept_[0], rel=0.05)
    assert platt([0.0, 0.1, 5.0, 6.0], [0, 0, 1, 1])[0] < 100, "finite where nothing overlaps"
    assert platt([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0])[0] >= 0, "never turned over"


def test_the_error_of_a_gain_in_auroc_is_delongs() -> None:
    """Compared with the definition, pair by pair; the two scores of a photo are correlated."""
    draw = np.random.RandomState(3)
    label = (np.arange(50) < 20).astype(int)
    base = (draw.normal(size=50) + label).round(1)  # with ties
    other = (base + 0.5 * draw.normal(size=50)).round(1)
    pairs = []
    for score in (other, base):
        above = score[label == 1][:, None] - score[label == 0][None]
        pairs.append((above > 0) + 0.5 * (above == 0))
    gained = pairs[0] - pairs[1]
    error = np.sqrt(gained.mean(1).var(ddof=1) / 20 + gained.mean(0).var(ddof=1) / 30)
    assert auroc_gain(other, base, label) == pytest.approx((gained.mean(), error), abs=1e-12)
    assert auroc_gain(base, base, label) == (0, 0)


def test_brier_score_and_log_loss_are_scikit_learns_with_both_classes_weighing_alike() -> None:
    draw = np.random.RandomState(0)
    label = np.arange(200) % 4 == 0
    logit = draw.normal(size=200) + 2 * label
    probability, weight = 1 / (1 + np.exp(-logit)), np.where(label, 1 / 50, 1 / 150)
    found = calibration(logit, label)
    assert found["brier"] == pytest.approx(brier_score_loss(label, probability, sample_weight=weight), abs=1e-12)
    assert found["log_loss"] == pytest.approx(log_loss(label, probability, sample_weight=weight), abs=1e-12)
    assert calibration(logit, np.ones(200)) == {"brier": None, "log_loss": None}
    again = uncalibrated(3 * logit - 1, {"slope": 3.0, "offset": -1.0})
    assert again == pytest.approx(logit)


def test_reliability_is_at_the_share_of_the_photos() -> None:
    """9 of 10 photos are good: scores calibrated at even odds are on the diagonal after the shift."""
    draw = np.random.RandomState(0)
    bad = np.arange(200_000) % 10 == 0
    logit = draw.normal(size=200_000) + bad - 0.5  # by hand: the log-odds of two normals at distance one are x - 1/2
    found = reliability_of(1 / (1 + np.exp(-logit)), bad, {"slope": 0.5, "offset": 0.0})
    many = [point for point in found["reliability"] if point["n"] > 1000]
    assert [point["true"] for point in many] == pytest.approx([point["said"] for point in many], abs=0.02)
    off = [abs(point["said"] - point["true"]) for point in found["reliability_before"] if point["n"] > 1000]
    assert max(off) > 0.1
