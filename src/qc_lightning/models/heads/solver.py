"""Fit linear heads exactly: one full-batch solve instead of epochs, for all cross-validation folds at once.

With the features fixed the loss is convex in the head, and the folds are columns of one problem, which costs little
more than one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

EXACT = 4096  # photos and copies, or features: with more of both, the solution is restricted to a smaller space
LANDMARKS = 1024  # its dimensions; more gained nothing on 1,556 ELPV cells
_AT_ONCE = 1024  # photos
_STEPS = 300  # iterations of the solver, at most
Transform = Callable[[Tensor], Tensor]
_CURVATURE = 0.05  # of the logistic loss, p (1 - p), about what photos have near the solution


@dataclass(frozen=True)
class Recipe:
    """One way to fit a linear head.

    Attributes:
        loss: `logistic`; or `ridge`, half the squared distance to -1 for Correct and 1 for Incorrect, which is steadier
            where one class has few photos.
        penalty: weight of half the squared norm, above 0.
        tau: variance of an intercept for each group of photos, relative to that of the weights; 0 for none. It takes up
            what the photos of a group have in common while the head is fitted, and is dropped afterwards: so the head
            does not learn the look of a group that is mostly bad (a random intercept, as in mixed models).
    """

    loss: str
    penalty: float
    tau: float = 0.0

    @property
    def words(self) -> str:
        """The recipe for a reader."""
        return f"{self.loss}, penalty {self.penalty:g}" + (f", group intercepts {self.tau:g}" if self.tau else "")


class Solution(NamedTuple):
    """Columns are separate problems: weight [width, columns], bias [columns], scores of the photos [n, columns]."""

    weight: Tensor
    bias: Tensor
    score: Tensor


class Solver:
    """Minimise sum_i weight_i * loss(x_i w + b + sqrt(tau) u_group(i)) + penalty / 2 * (|w|^2 + |u|^2) over w, b, u.

    Each call begins where the last one of the same shape and recipe ended.

    Args:
        x: float [n, width].
        group: int [n], from 0 without gaps; needed where tau is above 0.
        transform: of some photos' features [k, width], called on a thousand at a time where there are many.
    """

    def __init__(self, x: Tensor, group: Tensor | None = None, transform: Transform = lambda some: some) -> None:
        self._unfold: Callable[[Tensor], Tensor]  # of weights in those coordinates to weights of the features
        self._score: Callable[[Tensor, Tensor], Tensor]  # of both to what the photos get without a bias
        # Coordinates in which the photos are uncorrelated; every solution lies in the span of the photos. Divided by
        # about the root of the curvature all directions are alike, and the solver needs three times fewer steps.
        if min(x.shape) > EXACT:  # the photos' features are not held in memory
            basis, self._values, self._z = _nystrom(x, transform)
            self._unfold = lambda inside: basis.double() @ inside
            self._score = lambda inside, weight: (self._z @ inside).float()
        else:
            x = torch.cat([transform(part) for part in torch.split(x, _AT_ONCE)])
            self._score = lambda inside, weight: x @ weight
            self._values, vectors = _eigen(x.T @ x)
            self._unfold = lambda inside: vectors @ inside
            self._z = x.double() @ vectors
        self._across = self._z.T.contiguous()
        self._group = group
        self._last: tuple[Recipe, Tensor] | None = None

    def minimise(self, label: Tensor, weight: Tensor, recipe: Recipe) -> Solution:
        """Solve for all columns of `weight` at once.

        L-BFGS on the sum of the columns: they share no variables, so each ends at its own minimum.

        Args:
            label: int [n].
            weight: float [n, columns], 0 leaves a photo out.
            recipe: loss, penalty and tau.
        """
        weight, z, penalty = weight.double(), self._z, recipe.penalty
        logistic = recipe.loss == "logistic"
        curvature = _CURVATURE if logistic else 1.0
        target = label[:, None].to(z).expand(-1, weight.shape[1])
        shrink = (curvature * self._values + penalty).rsqrt()[:, None]
        # then the unpenalised common intercept and the group intercepts
        group = self._group if recipe.tau else None
        members = z.new_zeros(0) if group is None else torch.bincount(group).to(z)
        own = recipe.tau**0.5 * (curvature * recipe.tau * members + penalty).rsqrt()[:, None]
        down = torch.cat([penalty * shrink**2, torch.zeros_like(shrink[:1]), penalty / max(recipe.tau, 1e-9) * own**2])
        begin = torch.zeros(len(down), weight.shape[1], dtype=z.dtype, device=z.device)
        if self._last is not None and self._last[0] == recipe and self._last[1].shape == begin.shape:
            begin = self._last[1]
        every = begin.clone()
        width = z.shape[1]
        solver = torch.optim.LBFGS(
            [every],
            max_iter=_STEPS,
            history_size=20,
            tolerance_grad=1e-5,
            tolerance_change=1e-10,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            logit = z @ (shrink * every[:width]) + every[width]
            if group is not None:
                logit += (own * every[width + 1 :])[group]
            # by hand: autograd would read z against its memory layout, which takes more than twice the time
            if logistic:
                residual = weight * (torch.sigmoid(logit) - target)
                loss = nn.functional.binary_cross_entropy_with_logits(logit, target, weight, reduction="sum")
            else:
                miss = logit - (2 * target - 1)
                residual = weight * miss
                loss = (residual * miss).sum() / 2
            grad = [shrink * (self._across @ residual), residual.sum(0, keepdim=True)]
            if group is not None:
                grad.append(own * torch.zeros_like(own).expand(-1, weight.shape[1]).index_add(0, group, residual))
            every.grad = torch.cat(grad) + down * every
            return loss + (down * every * every).sum() / 2

        solver.step(objective)  # type: ignore[no-untyped-call]
        self._last = (recipe, every)
        inside, bias = shrink * every[:width], every[width].float()
        weight = self._unfold(inside).float()
        return Solution(weight, bias, self._score(inside, weight) + bias)


def _eigen(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues above single-precision rounding, and their vectors, float64."""
    values, vectors = torch.linalg.eigh(gram.double())
    kept = values > 1e-6 * values.max()
    return values[kept], vectors[:, kept]


def _nystrom(x: Tensor, transform: Transform) -> tuple[Tensor, Tensor, Tensor]:
    """Basis [width, k], variances [k] and coordinates [n, k] in the span of evenly spaced photos (Nystroem's method).

    Time and memory are linear in the photos; of the others only what lies in that span is seen.
    """
    some = transform(x[torch.linspace(0, len(x) - 1, LANDMARKS).long()])
    values, vectors = _eigen(some @ some.T)
    span = some.T @ (vectors / values.sqrt()).float()
    inside = torch.cat([transform(part) @ span for part in torch.split(x, _AT_ONCE)])
    values, vectors = _eigen(inside.T @ inside)
    return span @ vectors.float(), values, inside.double() @ vectors
