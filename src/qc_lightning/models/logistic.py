"""Logistic regression on fixed features: the head of a frozen network, fitted exactly instead of step by step.

With the backbone frozen the loss is convex in the head, so one full-batch solve replaces epochs, and solving for all
cross-validation folds at once costs little more than solving once.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

_CURVATURE = 0.05  # of the loss, p (1 - p), about what photos have near the solution


class LogisticHead(nn.Module):
    """Standardise each feature, scale each photo's features to length 1, then one linear unit.

    Features of several stages differ in scale by orders of magnitude; standardised, the penalty treats them alike, and
    at length 1 no photo weighs more because it is busy or bright.

    Shapes: float [B, width] to float [B, 1].
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = nn.Linear(width, 1)

    def normalise(self, features: Tensor) -> Tensor:
        """Return standardised features of length 1, float [B, width]."""
        return nn.functional.normalize((features - self.mean) / self.scale, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        # not by a matrix product, whose last bits depend on how many photos come at a time
        return (self.normalise(features) * self.linear.weight).sum(1, keepdim=True) + self.linear.bias

    def fit(
        self, features: Tensor, label: Tensor, penalty: float, fold: npt.NDArray[np.int64], balance: bool
    ) -> Tensor:
        """Fit to training photos and return what the photos get from models that have not seen them.

        Args:
            features: float [n, width].
            label: int [n], 1 for Incorrect; both classes in every fold's complement.
            penalty: weight of the squared norm, above 0.
            fold: int [n], the cross-validation fold of each photo, from 0 without gaps.
            balance: weigh the classes to equal totals.

        Returns:
            Out-of-fold logits, float32 [n]: photo i's from the fit to all folds but `fold[i]`.
        """
        self.mean.copy_(features.mean(0))
        spread = features.std(0, correction=0)
        # a feature that is all but constant over the training photos says nothing, and what single precision leaves of
        # it must not be blown up
        kept = spread > 1e-4 * (self.mean.abs() + spread.median())
        self.scale.copy_(torch.where(kept, spread, torch.inf))
        x = self.normalise(features)
        of = torch.from_numpy(fold).to(x.device)
        folds = int(of.max()) + 1
        used = torch.ones(len(x), folds + 1, device=x.device)
        used[torch.arange(len(x)), of] = 0
        weight = used * class_weights(label, used) if balance else used
        solution = minimise(x, label, weight, penalty)
        with torch.no_grad():
            self.linear.weight.copy_(solution.weight[:, -1:].T)
            self.linear.bias.copy_(solution.bias[-1:])
        logit = x @ solution.weight + solution.bias
        return logit[torch.arange(len(x)), of].float()


class Solution(NamedTuple):
    """Columns are separate problems: weight [width, columns], bias [columns]."""

    weight: Tensor
    bias: Tensor


def class_weights(label: Tensor, used: Tensor) -> Tensor:
    """Weights that give both classes the same total in each column: n / (2 * photos of the class), [n, columns]."""
    positive = label[:, None].to(used)
    total = used.sum(0)
    incorrect = (used * positive).sum(0)
    return positive * total / (2 * incorrect) + (1 - positive) * total / (2 * (total - incorrect))


def minimise(x: Tensor, label: Tensor, weight: Tensor, penalty: float, steps: int = 300) -> Solution:
    """Solve min over w, b of sum_i weight_i * BCE(x_i w + b, label_i) + penalty / 2 * |w|^2, for all columns at once.

    L-BFGS on the sum of the columns: they share no variables, so each ends at its own minimum.

    Args:
        x: float [n, width].
        label: int [n].
        weight: float [n, columns], 0 leaves a photo out.
        penalty: above 0.
        steps: at most.
    """
    weight = weight.double()
    wide = x.shape[0] < x.shape[1]
    # Coordinates in which the photos are uncorrelated, from the smaller of the two Gram matrices; every solution lies
    # in the span of the photos. Divided by about the root of the curvature all directions are alike, and the solver
    # needs three times fewer steps.
    values, vectors = torch.linalg.eigh((x @ x.T if wide else x.T @ x).double())
    kept = values > 1e-6 * values.max()  # what single precision can tell from nothing
    values, vectors = values[kept], vectors[:, kept]
    shrink = (_CURVATURE * values + penalty).rsqrt()
    basis = vectors / values.sqrt() if wide else vectors
    z = (vectors * values.sqrt() if wide else x.double() @ vectors) * shrink
    target = label[:, None].to(z).expand(-1, weight.shape[1])
    v = torch.zeros(z.shape[1], weight.shape[1], dtype=z.dtype, device=z.device, requires_grad=True)
    b = torch.zeros(weight.shape[1], dtype=z.dtype, device=z.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [v, b],
        max_iter=steps,
        history_size=20,
        tolerance_grad=1e-5,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        solver.zero_grad()
        loss: Tensor = nn.functional.binary_cross_entropy_with_logits(z @ v + b, target, weight, reduction="sum")
        loss = loss + penalty / 2 * ((shrink[:, None] * v) ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        solver.step(objective)  # type: ignore[no-untyped-call]
    solution = basis @ (shrink[:, None] * v.detach())
    solution = x.double().T @ solution if wide else solution
    return Solution(solution.float(), b.detach().float())
