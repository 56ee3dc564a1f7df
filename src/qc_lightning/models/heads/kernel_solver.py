"""Linear heads fitted exactly where there are fewer photos than features: Newton's method in the span of the photos.

Every solution is a weighted sum of the photos' features, so the unknowns are one number a photo. A ridge takes one
step, a logistic regression about seven, to the last digits.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from qc_lightning.models.heads.solver import Recipe, Solution

_STEPS = 50  # of Newton's method, at most
_SETTLED = 1e-5  # stop when no logit moves by more than this: the next step would move it by about the square
_HALVINGS = 20  # of a step that goes too far
_EQUAL = 1e-12  # relative difference of losses below rounding
_CERTAIN = 1e-12  # a smaller p (1 - p) counts as this one
_ROUNDING = 1e-6  # of products of single-precision features of length 1


class KernelSolver:
    """Minimise sum_i weight_i * loss(x_i w + b + sqrt(tau) u_group(i)) + penalty / 2 * (|w|^2 + |u|^2) over w, b, u.

    With w = sum_i a_i x_i, and intercepts of groups as a further kernel, each step of iteratively reweighted least
    squares is one Cholesky factorisation (Rasmussen & Williams 2006, algorithm 3.1, with an intercept that is free).

    Args:
        x: float [n, width], of about length 1.
        group: int [n], from 0 without gaps.
    """

    def __init__(self, x: Tensor, group: Tensor) -> None:
        self._x, self._group = x, group
        self._gram = (x @ x.T).double()
        self._gram.diagonal().add_(_ROUNDING)
        self._last: tuple[Recipe, Tensor, Tensor] | None = None

    def minimise(self, label: Tensor, weight: Tensor, recipe: Recipe) -> Solution:
        """Solve for each column of `weight`.

        Args:
            label: int [n].
            weight: float [n, columns], 0 leaves a photo out.
            recipe: loss, penalty and tau.
        """
        count = weight.shape[1]
        share, bias = torch.zeros(len(label), count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        if self._last is not None and self._last[0] == recipe and self._last[1].shape == share.shape:
            share, bias = self._last[1].clone(), self._last[2].clone()
        for column in reversed(range(count)):  # the last one, of all photos, is near the others
            used = torch.nonzero(weight[:, column])[:, 0]
            if not len(used):
                continue
            begin = column if share[:, column].any() else min(column + 1, count - 1)
            kernel = self._gram[used[:, None], used]
            if recipe.tau:
                kernel += recipe.tau * (self._group[used, None] == self._group[used])
            start = share[used, begin], bias[begin]
            found = _newton(kernel, label[used], weight[used, column].double(), recipe, start)
            share[:, column] = 0
            share[used, column], bias[column] = found
        self._last = recipe, share, bias
        weights = (self._x.double().T @ share).float()
        return Solution(weights, bias.float(), (self._gram @ share + bias).float())


def _newton(
    kernel: Tensor, label: Tensor, weight: Tensor, recipe: Recipe, start: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Dual coefficients [n] and bias of the lowest loss for float64 [n, n], int [n], float64 [n]."""
    logistic, penalty = recipe.loss == "logistic", recipe.penalty
    target = label.double() if logistic else 2 * label.double() - 1

    def loss_of(logit: Tensor, share: Tensor, bias: Tensor) -> Tensor:
        error = softplus(logit) - target * logit if logistic else (logit - target).square() / 2
        return (weight * error).sum() + penalty / 2 * share @ (logit - bias)

    share, bias = start
    logit = kernel @ share + bias
    loss = loss_of(logit, share, bias)
    for _ in range(_STEPS):
        if logistic:
            chance = torch.sigmoid(logit)
            slope, curve = weight * (chance - target), weight * (chance * (1 - chance)).clamp(min=_CERTAIN)
        else:
            slope, curve = weight * (logit - target), weight
        root = curve.sqrt()[:, None]
        inner = (kernel * root).mul_(root.T)
        inner.diagonal().add_(penalty)
        wanted = torch.stack([logit - slope / curve, torch.ones_like(logit)], 1)
        of_wanted, of_one = (root * torch.cholesky_solve(root * wanted, torch.linalg.cholesky(inner))).unbind(1)
        next_bias = of_wanted.sum() / of_one.sum()
        next_share = of_wanted - next_bias * of_one
        next_logit = kernel @ next_share + next_bias
        if not logistic:  # the loss is quadratic: one step reaches the minimum
            return next_share, next_bias
        for _ in range(_HALVINGS):
            next_loss = loss_of(next_logit, next_share, next_bias)
            if next_loss <= loss + _EQUAL * loss.abs():
                break
            next_share, next_bias = (next_share + share) / 2, (next_bias + bias) / 2
            next_logit = (next_logit + logit) / 2
        moved = float((next_logit - logit).abs().max())
        share, bias, logit, loss = next_share, next_bias, next_logit, next_loss
        if moved < _SETTLED:
            break
    return share, bias
