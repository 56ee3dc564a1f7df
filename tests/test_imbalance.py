"""Weights for rare classes, compared with torchvision, scikit-learn and counting."""

import numpy as np
import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from qc_lightning.data.datamodule import BatchSampler
from qc_lightning.training.imbalance import build_loss, resolve_imbalance


def test_auto_weighs_only_when_a_class_is_rare() -> None:
    assert [resolve_imbalance("auto", counts) for counts in ((60, 40), (61, 39), (39, 61))] == [
        "none",
        "pos_weight",
        "pos_weight",
    ]
    assert resolve_imbalance("focal", (50, 50)) == "focal"


def test_focal_loss_is_torchvisions() -> None:
    logit, label = torch.linspace(-4, 4, 9), torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1, 0])
    theirs = sigmoid_focal_loss(logit, label, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(build_loss("focal", (1, 1))(logit, label), theirs)


def test_pos_weight_gives_both_classes_the_same_total() -> None:
    """30 Correct and 10 Incorrect at logit 0: each class adds 30 * log 2."""
    label = torch.tensor([0.0] * 30 + [1.0] * 10)
    loss = build_loss("pos_weight", (30, 10))(torch.zeros(40), label)
    assert loss.item() * 40 == pytest.approx(2 * 30 * np.log(2), rel=1e-6)


def test_sampler_draws_both_classes_equally_often() -> None:
    labels = np.array([0] * 900 + [1] * 100)
    sampler = BatchSampler(np.arange(1000), 50, 0, 0, 1, labels)
    drawn = labels[np.concatenate([list(batch) for batch in sampler])]
    assert len(drawn) == 1000
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)  # three standard deviations
