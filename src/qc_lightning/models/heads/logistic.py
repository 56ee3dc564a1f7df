"""Logistic regression on fixed features: the head of a pretrained network, fitted exactly instead of step by step.

With the backbone frozen the loss is convex in the head, so one full-batch solve replaces epochs, and solving for all
cross-validation folds at once costs little more than solving once.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qc_lightning.models.heads.scaler import FeatureScaler

_ROUNDS = 10  # of choosing tiles, at most; the choice is mostly stable before
_CURVATURE = 0.05  # of the loss, p (1 - p), about what photos have near the solution


class LogisticHead(FeatureScaler):
    """One linear unit on standardised features.

    Shapes: float [B, width] to float [B, 1].
    """

    def __init__(self, width: int, clip: float = math.inf) -> None:
        super().__init__(width, clip)
        self.linear = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        # not by a matrix product, whose last bits depend on how many photos come at a time
        return (self.normalise(features) * self.linear.weight).sum(1, keepdim=True) + self.linear.bias

    def fit(
        self, features: Tensor, label: Tensor, penalty: float, fold: npt.NDArray[np.int64], balance: bool
    ) -> Tensor:
        """Fit to training photos and return what the photos get from models that have not seen them.

        Which tile of an Incorrect photo has the defect is not known. All of them stand for it at first, sharing its
        weight; then, round after round, the one that the last fit calls worst (mi-SVM, Andrews et al. 2002). The tiles
        of a Correct photo are all good and keep their shares. Each fold's fit makes its own choice.

        Args:
            features: float [n, tiles, width]; the highest logit of a photo's tiles is the photo's.
            label: int [n], 1 for Incorrect; both classes in every fold's complement.
            penalty: weight of the squared norm, above 0.
            fold: int [n], the cross-validation fold of each photo, from 0 without gaps.
            balance: weigh the classes to equal totals.

        Returns:
            Out-of-fold logits, float32 [n]: photo i's from the fit to all folds but `fold[i]`.
        """
        count, tiles, _ = features.shape
        self.adapt(features.flatten(0, 1))
        x = self.normalise(features.flatten(0, 1))
        of = torch.from_numpy(fold).to(x.device)
        folds = int(of.max()) + 1
        used = torch.ones(count, folds + 1, device=x.device)
        used[torch.arange(count), of] = 0
        weight = used * class_weights(label, used) if balance else used
        share = torch.full((count, tiles, folds + 1), 1 / tiles, device=x.device)
        solver = Solver(x, penalty)
        for _ in range(_ROUNDS):
            solution = solver.minimise(label.repeat_interleave(tiles), (weight[:, None] * share).flatten(0, 1))
            logit = (x @ solution.weight + solution.bias).view(count, tiles, -1)
            chosen = torch.zeros_like(share).scatter_(1, logit.argmax(1, keepdim=True), 1.0)
            chosen = torch.where(label[:, None, None] == 1, chosen, share)
            if torch.equal(chosen, share):
                break
            share = chosen
        with torch.no_grad():
            self.linear.weight.copy_(solution.weight[:, -1:].T)
            self.linear.bias.copy_(solution.bias[-1:])
        return logit.amax(1)[torch.arange(count), of].float()


class Solution(NamedTuple):
    """Columns are separate problems: weight [width, columns], bias [columns]."""

    weight: Tensor
    bias: Tensor


def class_weights(label: Tensor, used: Tensor) -> Tensor:
    """Weights that give both classes the same total in each column: n / (2 * photos of the class), [n, columns]."""
    positive = label[:, None].to(used)
    total = used.sum(0)
    incorrect = (used * positive).sum(0)
    correct = total - incorrect
    # at least 1: a column that uses no photo weighs nothing, not 0 / 0
    return (positive / incorrect.clamp(min=1) + (1 - positive) / correct.clamp(min=1)) * total / 2


class Solver:
    """Solve min over w, b of sum_i weight_i * BCE(x_i w + b, label_i) + penalty / 2 * |w|^2 for the same x many times.

    Each call begins where the last one ended.

    Args:
        x: float [n, width].
        penalty: above 0.
    """

    def __init__(self, x: Tensor, penalty: float) -> None:
        self._x, self._penalty = x, penalty
        self._wide = x.shape[0] < x.shape[1]
        # Coordinates in which the photos are uncorrelated, from the smaller of the two Gram matrices; every solution
        # lies in the span of the photos. Divided by about the root of the curvature all directions are alike, and the
        # solver needs three times fewer steps.
        values, vectors = torch.linalg.eigh((x @ x.T if self._wide else x.T @ x).double())
        kept = values > 1e-6 * values.max()  # what single precision can tell from nothing
        values, vectors = values[kept], vectors[:, kept]
        self._shrink = (_CURVATURE * values + penalty).rsqrt()
        self._basis = vectors / values.sqrt() if self._wide else vectors
        self._z = (vectors * values.sqrt() if self._wide else x.double() @ vectors) * self._shrink
        self._across = self._z.T.contiguous()
        self._last: tuple[Tensor, Tensor] | None = None

    def minimise(self, label: Tensor, weight: Tensor, steps: int = 300) -> Solution:
        """Solve for all columns of `weight` at once.

        L-BFGS on the sum of the columns: they share no variables, so each ends at its own minimum.

        Args:
            label: int [n].
            weight: float [n, columns], 0 leaves a photo out.
            steps: at most.
        """
        weight, z, shrink = weight.double(), self._z, self._shrink
        target = label[:, None].to(z).expand(-1, weight.shape[1])
        nothing = torch.zeros(z.shape[1] + 1, weight.shape[1], dtype=z.dtype, device=z.device)
        v, b = (of.clone() for of in self._last or (nothing[1:], nothing[0]))
        solver = torch.optim.LBFGS(
            [v, b],
            max_iter=steps,
            history_size=20,
            tolerance_grad=1e-5,
            tolerance_change=1e-10,
            line_search_fn="strong_wolfe",
        )
        down = self._penalty * (shrink**2)[:, None]

        def objective() -> Tensor:
            logit = z @ v + b
            # by hand, because backward would read z against its layout: more than twice the time
            residual = weight * (torch.sigmoid(logit) - target)
            v.grad, b.grad = self._across @ residual + down * v, residual.sum(0)
            loss = nn.functional.binary_cross_entropy_with_logits(logit, target, weight, reduction="sum")
            loss += (down * v * v).sum() / 2
            return loss

        solver.step(objective)  # type: ignore[no-untyped-call]
        self._last = (v, b)
        solution = self._basis @ (shrink[:, None] * v)
        solution = self._x.double().T @ solution if self._wide else solution
        return Solution(solution.float(), b.float())
