"""Linear heads fitted exactly where there are fewer photos than features: Newton's method in the span of the photos.

Every solution is a weighted sum of the photos' features, so the unknowns are one number a photo. A ridge takes one
step, a logistic regression about seven, to the last digits.
"""

import torch
from torch import Tensor
from torch.linalg import solve_triangular
from torch.nn.functional import softplus

from qc_lightning.models.heads.solver import Recipe, Solution

_AT_ONCE = 256  # photos whose features are in memory as doubles
_STEPS = 50  # of Newton's method, at most
_SETTLED = 1e-4  # stop when no logit moves by more than this: the next step would move it by about the square
_HALVINGS = 20  # of a step that goes too far
_EQUAL = 1e-12  # relative difference of losses below rounding
_CERTAIN = 1e-12  # a smaller p (1 - p) counts as this one
_ROUNDING = 1e-6  # of products of single-precision features of length 1


class KernelSolver:
    """Minimise sum_i weight_i * loss(x_i w + b + sqrt(tau) u_group(i)) + penalty / 2 * (|w|^2 + |u|^2) over w, b, u.

    With w = sum_i a_i x_i, and intercepts of groups as a further kernel, each step of iteratively reweighted least
    squares is one Cholesky factorisation (Rasmussen & Williams 2006, algorithm 3.1, with an intercept that is free).
    The steps of a fold begin at the logits that the fit to all photos gives it, or those of the last call: from there
    four or five are enough.

    Args:
        x: float [n, width], of about length 1.
        group: int [n], from 0 without gaps.
    """

    def __init__(self, x: Tensor, group: Tensor) -> None:
        self._x, self._group = x, group
        self._gram = (x @ x.T).double()
        self._gram.diagonal().add_(_ROUNDING)
        self._last: tuple[Recipe, Tensor] | None = None

    def minimise(self, label: Tensor, weight: Tensor, recipe: Recipe) -> Solution:
        """Solve for each column of `weight`.

        Args:
            label: int [n].
            weight: float [n, columns], 0 leaves a photo out; the last column has all photos.
            recipe: loss, penalty and tau.
        """
        share, bias = torch.zeros_like(weight, dtype=torch.float64), torch.zeros(weight.shape[1], dtype=torch.float64)
        score = torch.zeros_like(share)
        repeated = self._last is not None and self._last[0] == recipe and self._last[1].shape == score.shape
        for column in reversed(range(weight.shape[1])):
            used = torch.nonzero(weight[:, column])[:, 0]
            if not len(used):
                continue
            kernel = self._gram[used[:, None], used]
            if recipe.tau:
                kernel += recipe.tau * (self._group[used, None] == self._group[used])
            begin = self._last[1][used, column] if self._last is not None and repeated else score[used, -1]
            share[used, column], bias[column] = _newton(
                kernel, label[used], weight[used, column].double(), recipe, begin
            )
            score[:, column] = self._gram @ share[:, column] + bias[column]
        self._last = recipe, score
        parts = zip(torch.split(self._x, _AT_ONCE), torch.split(share, _AT_ONCE), strict=True)
        weights = sum((x.double().T @ some for x, some in parts), start=score.new_zeros(()))
        return Solution(weights.float(), bias.float(), score.float())


def _newton(kernel: Tensor, label: Tensor, weight: Tensor, recipe: Recipe, begin: Tensor) -> tuple[Tensor, Tensor]:
    """Dual coefficients [n] and bias of the lowest loss.

    Args:
        kernel: float64 [n, n].
        label: int [n].
        weight: float64 [n].
        recipe: loss and penalty.
        begin: logits, float64 [n], which the first step begins at; if it ends above the loss of zero, zero counts.
    """
    logistic, penalty = recipe.loss == "logistic", recipe.penalty
    target = label.double() if logistic else 2 * label.double() - 1

    def loss_of(logit: Tensor, share: Tensor, bias: Tensor) -> Tensor:
        error = softplus(logit) - target * logit if logistic else (logit - target).square() / 2
        return (weight * error).sum() + penalty / 2 * share @ (logit - bias)

    inner = torch.empty_like(kernel)  # the system reclaims and clears large memory each time it is allocated
    share, bias, logit = torch.zeros_like(begin), begin.new_zeros(()), torch.zeros_like(begin)
    loss = loss_of(logit, share, bias)
    for _ in range(_STEPS):
        if logistic:
            chance = torch.sigmoid(begin)
            slope, curve = weight * (chance - target), weight * (chance * (1 - chance)).clamp(min=_CERTAIN)
        else:
            slope, curve = weight * (begin - target), weight
        root = curve.sqrt()[:, None]
        torch.mul(kernel, root, out=inner).mul_(root.T).diagonal().add_(penalty)
        wanted = torch.stack([begin - slope / curve, torch.ones_like(logit)], 1)
        factor = torch.linalg.cholesky(inner)
        half = solve_triangular(factor, root * wanted, upper=False)
        of_wanted, of_one = (root * solve_triangular(factor.T, half, upper=True)).unbind(1)
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
        moved = float((next_logit - begin).abs().max())
        share, bias, logit, loss = next_share, next_bias, next_logit, next_loss
        begin = next_logit
        if moved < _SETTLED:
            break
    return share, bias
