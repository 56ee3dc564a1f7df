"""The exact head against scikit-learn's logistic regression."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from qc_lightning.models.heads.logistic import LogisticHead, Solver, class_weights
from qc_lightning.models.heads.perceptron import PerceptronHead, Schedule


def problem(n: int = 120, width: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.RandomState(seed)
    x = draw.normal(size=(n, width)).astype(np.float32)
    label = (x[:, 0] + 0.7 * draw.normal(size=n) > 0.6).astype(np.int64)
    return torch.from_numpy(x), torch.from_numpy(label)


@pytest.mark.parametrize("penalty", [0.03, 1.0])
@pytest.mark.parametrize("width", [40, 300])  # fewer and more features than photos
def test_solution_is_scikit_learns(penalty: float, width: int) -> None:
    x, label = problem(width=width)
    ours = Solver(x, penalty).minimise(label, torch.ones(len(x), 1))
    theirs = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=10_000).fit(x.numpy(), label.numpy())
    assert ours.weight[:, 0].numpy() == pytest.approx(theirs.coef_[0], abs=2e-2 * float(np.abs(theirs.coef_).max()))
    assert (x @ ours.weight[:, 0] + ours.bias[0]).numpy() == pytest.approx(
        theirs.decision_function(x.numpy()), abs=0.05
    )


def test_class_weights_are_scikit_learns_balanced() -> None:
    _, label = problem()
    counts = np.bincount(label.numpy())
    weights = class_weights(label, torch.ones(len(label), 1))[:, 0].numpy()
    assert weights == pytest.approx(len(label) / (2 * counts[label.numpy()]))


def test_out_of_fold_logits_come_from_models_that_have_not_seen_the_photo() -> None:
    """Changing a photo's own label moves its out-of-fold logit by nothing; refitting by hand gives the same."""
    x, label = problem()
    fold = np.arange(len(x)) % 4
    logit = LogisticHead(x.shape[1]).fit(x[:, None], label, 0.1, fold, balance=False)
    head = LogisticHead(x.shape[1])
    head.fit(x[:, None], label, 0.1, fold, balance=False)
    normal = head.normalise(x).numpy()
    kept = fold != 2
    by_hand = LogisticRegression(C=10, tol=1e-8, max_iter=10_000).fit(normal[kept], label.numpy()[kept])
    assert logit[~kept].numpy() == pytest.approx(by_hand.decision_function(normal[~kept]), abs=0.02)


def test_a_constant_feature_is_ignored_for_ever() -> None:
    x, label = problem()
    x[:, 3] = 7.0
    head = LogisticHead(x.shape[1])
    head.fit(x[:, None], label, 0.1, np.arange(len(x)) % 4, balance=True)
    moved = x.clone()
    moved[:, 3] = -1e6
    torch.testing.assert_close(head(moved), head(x))


def test_a_feature_far_off_does_not_drown_the_others() -> None:
    """All but constant in training, then 1,000 standard deviations off: uncut, it alone would be left at length 1."""
    x, label = problem(width=300)
    head = LogisticHead(x.shape[1], clip=5.0)
    head.fit(x[:, None], label, 0.1, np.arange(len(x)) % 4, balance=True)
    off = x.clone()
    off[:, 7] = 1000.0 * (-1) ** torch.arange(len(x))
    uncut = LogisticHead(x.shape[1])
    uncut.load_state_dict(head.state_dict())
    agree = [np.corrcoef(of(off)[:, 0].detach(), of(x)[:, 0].detach())[0, 1] for of in (head, uncut)]
    assert agree[0] > 0.8
    assert agree[1] < 0.3


def test_columns_without_photos_do_not_spoil_the_others() -> None:
    """A class that lies in one group cannot be cross-validated: one fold, and nothing outside of it."""
    x, label = problem()
    head = LogisticHead(x.shape[1])
    head.fit(x[:, None], label, 0.1, np.ones(len(x), dtype=np.int64), balance=True)
    assert roc_auc_score(label, head(x)[:, 0].detach()) > 0.8


def test_rounding_noise_in_an_almost_constant_feature_does_not_decide() -> None:
    x, label = problem()
    noise = torch.from_numpy(np.random.RandomState(1).normal(size=len(x)).astype(np.float32))
    x[:, 3] = 6.0 + 1e-5 * noise
    head = LogisticHead(x.shape[1])
    head.fit(x[:, None], label, 0.1, np.arange(len(x)) % 4, balance=True)
    other = x.clone()
    other[:, 3] = 6.001
    torch.testing.assert_close(head(other), head(x))


def test_hidden_layers_do_not_depend_on_what_was_drawn_before() -> None:
    x, label = problem()
    schedule = Schedule(partial(torch.optim.Adam, lr=1e-2), epochs=5, batch_size=16, seed=3)
    logits = []
    for drawn in (0, 7):
        torch.rand(drawn)
        head = PerceptronHead(x.shape[1], [8], dropout=0.5)
        logits.append(head.fit(x[:, None], label, np.arange(len(x)) % 4, torch.nn.BCEWithLogitsLoss(), schedule))
        assert roc_auc_score(label, head(x)[:, 0].detach()) > roc_auc_score(label, logits[-1]) > 0.6
    torch.testing.assert_close(*logits, rtol=0, atol=0)
