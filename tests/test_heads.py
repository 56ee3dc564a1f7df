"""The heads on fixed features: exact solutions, choices by cross-validation, calibration."""

import resource
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler, normalize

from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.kernel_solver import KernelSolver
from qc_lightning.models.heads.linear import Folds, LinearHead, class_weights
from qc_lightning.models.heads.patches import PatchHead
from qc_lightning.models.heads.perceptron import PerceptronHead, Schedule
from qc_lightning.models.heads.solver import Recipe, Solver


def problem(n: int = 120, width: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.RandomState(seed)
    x = draw.normal(size=(n, width)).astype(np.float32)
    label = (x[:, 0] + 0.7 * draw.normal(size=n) > 0.6).astype(np.int64)
    return torch.from_numpy(x), torch.from_numpy(label)


def photos_of(label: torch.Tensor, fold: np.ndarray, balance: bool = True, group: np.ndarray | None = None) -> Folds:
    number = np.arange(len(label)) if group is None else group
    return Folds(label, torch.from_numpy(fold), torch.from_numpy(number), balance)


def solver_of(x: torch.Tensor, group: np.ndarray | None = None) -> Solver | KernelSolver:
    number = torch.from_numpy(np.arange(len(x)) if group is None else group)
    return Solver(x, number) if len(x) > x.shape[1] else KernelSolver(x, number)


def fitted(
    x: torch.Tensor, label: torch.Tensor, fold: np.ndarray, balance: bool = True, clip: float = np.inf
) -> tuple[LinearHead, torch.Tensor]:
    """A logistic head, and its out-of-fold logits."""
    head = LinearHead(x.shape[1], clip)
    return head, head.fit(x[:, None], photos_of(label, fold, balance), [Recipe("logistic", 0.1)])


def test_features_are_standardised_cut_off_and_scaled_as_scikit_learn_does() -> None:
    x = problem()[0] * torch.linspace(0.1, 20, 40) + torch.linspace(-30, 30, 40)
    head = LinearHead(40, clip=2.0)
    head.adapt(x)
    expected = normalize(np.clip(StandardScaler().fit_transform(x.double().numpy()), -2, 2))
    assert head.normalise(x).numpy() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(head.normalise(x.view(30, 4, 40)), head.normalise(x).view(30, 4, 40))


def test_photos_that_cannot_be_cross_validated_are_not_said_to_be() -> None:
    _, label = problem()
    assert photos_of(label, np.arange(120) % 2).validated
    assert not photos_of(label, np.ones(120, dtype=np.int64)).validated, "a fold 1 without a fold 0 holds nobody out"


@pytest.mark.parametrize("penalty", [0.03, 1.0])
@pytest.mark.parametrize("width", [40, 300])  # fewer and more features than photos
def test_solution_is_scikit_learns(penalty: float, width: int) -> None:
    x, label = problem(width=width)
    ours = solver_of(x).minimise(label, torch.ones(len(x), 1), Recipe("logistic", penalty))
    exact = x.double().numpy()
    theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(exact, label.numpy())
    off = 1e-3 if len(x) < width else 2e-2
    assert ours.weight[:, 0].numpy() == pytest.approx(theirs.coef_[0], abs=off * float(np.abs(theirs.coef_).max()))
    assert (x @ ours.weight[:, 0] + ours.bias[0]).numpy() == pytest.approx(theirs.decision_function(exact), abs=off)


def test_class_weights_are_scikit_learns_balanced() -> None:
    _, label = problem()
    counts = np.bincount(label.numpy())
    weights = class_weights(label, torch.ones(len(label), 1))[:, 0].numpy()
    assert weights == pytest.approx(len(label) / (2 * counts[label.numpy()]))


def test_out_of_fold_logits_come_from_models_that_have_not_seen_the_photo() -> None:
    """A photo's own label does not affect its out-of-fold logit; refitting by hand gives the same logit."""
    x, label = problem()
    fold = np.arange(len(x)) % 4
    logit = fitted(x, label, fold, balance=False)[1]
    head = fitted(x, label, fold, balance=False)[0]
    normal = head.normalise(x).numpy()
    kept = fold != 2
    by_hand = LogisticRegression(C=10, tol=1e-8, max_iter=10_000).fit(normal[kept], label.numpy()[kept])
    assert logit[~kept].numpy() == pytest.approx(by_hand.decision_function(normal[~kept]), abs=0.02)


def test_a_constant_feature_is_ignored_for_ever() -> None:
    x, label = problem()
    x[:, 3] = 7.0
    head = fitted(x, label, np.arange(len(x)) % 4)[0]
    moved = x.clone()
    moved[:, 3] = -1e6
    torch.testing.assert_close(head(moved), head(x))


def test_a_feature_far_off_does_not_drown_the_others() -> None:
    """A feature almost constant in training, later 1,000 standard deviations off: unclipped, it alone sets the norm."""
    x, label = problem(width=300)
    head = fitted(x, label, np.arange(len(x)) % 4, clip=5.0)[0]
    off = x.clone()
    off[:, 7] = 1000.0 * (-1) ** torch.arange(len(x))
    uncut = LinearHead(x.shape[1])
    uncut.load_state_dict(head.state_dict())
    agree = [np.corrcoef(of(off)[:, 0].detach(), of(x)[:, 0].detach())[0, 1] for of in (head, uncut)]
    assert agree[0] > 0.8
    assert agree[1] < 0.3


def test_columns_without_photos_do_not_spoil_the_others() -> None:
    """A class within one group cannot be cross-validated: one fold, and nothing outside it."""
    x, label = problem()
    head = fitted(x, label, np.ones(len(x), dtype=np.int64))[0]
    assert roc_auc_score(label, head(x)[:, 0].detach()) > 0.8


def test_patches_that_cannot_be_validated_add_nothing() -> None:
    """A class within one group: no fold tells what patches are worth, and their unit still has its random weights."""
    x, label = problem()
    patches = torch.randn(len(x), 1, 6 * 4, generator=torch.Generator().manual_seed(0))
    features = torch.cat([x[:, None], patches], 2).half()
    head = FittedHead(x.shape[1], patches=(6, 4))
    head.fit(features, photos_of(label, np.ones(len(x), dtype=np.int64)), 0.03)
    torch.testing.assert_close(head(features[:, 0]), head.pooled(features[:, 0, : x.shape[1]].float()), rtol=0, atol=0)


def test_rounding_noise_in_an_almost_constant_feature_does_not_decide() -> None:
    x, label = problem()
    noise = torch.from_numpy(np.random.RandomState(1).normal(size=len(x)).astype(np.float32))
    x[:, 3] = 6.0 + 1e-5 * noise
    head = fitted(x, label, np.arange(len(x)) % 4)[0]
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


@pytest.mark.parametrize("width", [40, 300])
def test_a_ridge_is_scikit_learns(width: int) -> None:
    x, label = problem(width=width)
    weight = class_weights(label, torch.ones(len(label), 1))
    ours = solver_of(x).minimise(label, weight, Recipe("ridge", 0.3))
    theirs = Ridge(0.3).fit(x.numpy(), 2 * label.numpy() - 1, sample_weight=weight[:, 0].numpy())
    assert (x @ ours.weight[:, 0] + ours.bias[0]).numpy() == pytest.approx(theirs.predict(x.numpy()), abs=1e-3)


@pytest.mark.parametrize("width", [30, 300])
def test_group_intercepts_are_further_features_with_the_same_penalty(width: int) -> None:
    """By hand: an additional column of sqrt(tau) for each group, dropped afterwards."""
    x, label = problem(width=width)
    group = np.arange(len(x)) // 20
    ours = solver_of(x, group).minimise(label, torch.ones(len(x), 1), Recipe("logistic", 0.5, tau=2.0))
    wide = np.concatenate([x.numpy(), 2**0.5 * np.eye(group.max() + 1)[group]], axis=1)
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(wide, label.numpy())
    assert ours.weight[:, 0].numpy() == pytest.approx(theirs.coef_[0][:width], abs=2e-3)
    assert ours.bias.item() == pytest.approx(theirs.intercept_[0], abs=2e-2)


def groups_with_a_look(seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Defects change feature 0; each group has its own appearance (features 5 to 14) and fraction of defects."""
    draw = np.random.RandomState(seed)
    group = np.repeat(np.arange(12), 25)
    share = np.tile([0.1, 0.9], 6)[group]
    label = (draw.rand(len(group)) < share).astype(np.int64)
    x = draw.normal(size=(len(group), 30)).astype(np.float32)
    x[:, 0] += 1.5 * label
    x[:, 5:15] += 2 * draw.normal(size=(12, 10))[group]
    return torch.from_numpy(x), torch.from_numpy(label), group


def test_group_intercepts_keep_a_groups_look_out_of_the_head() -> None:
    gains = []
    for seed in range(4):
        x, label, group = groups_with_a_look(seed)
        new_x, new_label, _ = groups_with_a_look(seed + 10)
        reached = []
        for tau in (0.0, 2.0):
            head = LinearHead(x.shape[1])
            head.fit(x[:, None], photos_of(label, group % 4, group=group), [Recipe("logistic", 0.03, tau)])
            reached.append(roc_auc_score(new_label, head(new_x)[:, 0].detach()))
        gains.append(reached[1] - reached[0])
    assert np.mean(gains) > 0.03


def bags(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """20 patches of 6 numbers; on bad photos two patches are different."""
    draw = np.random.RandomState(seed)
    label = np.arange(n) % 2
    patches = draw.normal(size=(n, 20, 6)).astype(np.float32)
    for row in np.flatnonzero(label):
        patches[row, draw.choice(20, 2, replace=False), 2] += 4
    return torch.from_numpy(patches).half(), torch.from_numpy(label)


def test_a_photo_of_one_patch_has_a_score() -> None:
    patches, label = bags(60, 0)
    head = PatchHead(6)
    head.fit(patches[:, :1], photos_of(label, np.arange(60) % 5))
    assert head(patches[:3, :1].float()).shape == (3, 1)


def test_patches_find_what_two_of_twenty_show() -> None:
    patches, label = bags(200, 0)
    new, new_label = bags(200, 1)
    head = PatchHead(6)
    out_of_fold = head.fit(patches, photos_of(label, np.arange(200) // 2 % 5))
    reached = roc_auc_score(new_label, head(new)[:, 0].detach())
    assert reached > 0.97
    assert roc_auc_score(label, out_of_fold) == pytest.approx(reached, abs=0.03)
    again = PatchHead(6)
    torch.testing.assert_close(
        again.fit(patches, photos_of(label, np.arange(200) // 2 % 5)), out_of_fold, rtol=0, atol=0
    )


@pytest.mark.parametrize("useful", [True, False])
def test_patches_count_only_where_they_help(useful: bool) -> None:
    patches, label = bags(200, 0)
    if not useful:
        patches = torch.randn(patches.shape, generator=torch.Generator().manual_seed(0)).half()
    pooled = torch.randn(200, 10, generator=torch.Generator().manual_seed(1)).half()
    pooled[:, 0] += label
    features = torch.cat([pooled, patches.flatten(1)], dim=1)[:, None]
    head = FittedHead(10, 5.0, (20, 6))
    logit = head.fit(features, photos_of(label, np.arange(200) // 2 % 5), 0.03)
    assert ("patches weigh 0" in head.choice) != useful
    inside = head(features[:, 0])[:, 0].detach()
    assert roc_auc_score(label, inside) >= roc_auc_score(label, logit) - 0.02
    # calibrated: at logit 0 both classes are wrong about as often
    wrong = [float(((logit > 0) != (label == 1))[label == kind].float().mean()) for kind in (0, 1)]
    assert wrong[0] == pytest.approx(wrong[1], abs=0.08)


def test_with_few_bad_photos_nothing_is_chosen() -> None:
    x, label = problem()
    rows = torch.cat([torch.nonzero(label == 0)[:, 0], torch.nonzero(label == 1)[:8, 0]])
    head = FittedHead(x.shape[1])
    head.fit(x[rows, None], photos_of(label[rows], np.arange(len(rows)) % 4), 0.03)
    assert head.choice == "ridge, penalty 1"


def test_with_many_photos_a_smaller_space_gives_nearly_the_same_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of 20 kinds of difference and a little noise: 60 photos span what 400 do."""
    draw = np.random.RandomState(0)
    kinds = draw.normal(size=(20, 500))
    latent = draw.normal(size=(800, 20))
    x = torch.from_numpy((latent @ kinds + 0.3 * draw.normal(size=(800, 500))).astype(np.float32))
    label = torch.from_numpy((latent[:, 0] + 0.5 * draw.normal(size=800) > 0).astype(np.int64))
    logits = []
    for exact in (10_000, 100):
        monkeypatch.setattr("qc_lightning.models.heads.solver.EXACT", exact)
        monkeypatch.setattr("qc_lightning.models.heads.solver.LANDMARKS", 60)
        head, _ = fitted(x[:400], label[:400], np.arange(400) % 4)
        logits.append(head(x[400:])[:, 0].detach().numpy())
    exact, small = (roc_auc_score(label[400:], logit) for logit in logits)
    assert small == pytest.approx(exact, abs=0.01)
    assert np.corrcoef(logits)[0, 1] > 0.98


def test_a_group_for_each_of_many_photos_takes_no_square_of_them() -> None:
    count = 20_000  # a matrix of photos by groups would take 3.2 GB
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    label = (x[:, 0] > 0).long()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = Solver(x, torch.arange(count)).minimise(label, torch.ones(count, 1), Recipe("ridge", 1.0, tau=0.5))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kB"
    torch.testing.assert_close(found.score, x @ found.weight + found.bias)
