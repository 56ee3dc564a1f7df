"""A linear unit on pooled features, fitted exactly with the settings that cross-validation selects.

And what heads on fixed features share: features of several stages differ in scale by orders of magnitude.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from qc_lightning.metrics.calibration import auroc
from qc_lightning.models.heads.kernel_solver import KernelSolver
from qc_lightning.models.heads.solver import EXACT, Recipe, Solution, Solver

RIDGES = (0.03, 0.3, 1.0, 3.0)  # penalties
TAUS = (0.5, 2.0)  # variances of the groups' intercepts
_ROUNDS = 10  # of choosing tiles, at most; the choice is mostly stable before
FEW = 20  # photos of a class: with fewer, out-of-fold scores cannot tell one recipe from another


class FeatureScaler(nn.Module):
    """Standardise each feature, clip outliers, and scale each photo's features to length 1.

    Standardised, all features are treated alike, and at length 1 no photo weighs more because it is busy or bright. A
    maximum over a map that was nearly the same on all training photos can be a hundred standard deviations off on the
    next one, and at length 1 it would leave nothing of the other features; hence the cut.

    Args:
        width: features of a photo.
        clip: standard deviations at which a feature is cut off.
        constant: a feature with a relative spread below this is ignored.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, clip: float = math.inf, constant: float = 1e-4) -> None:
        super().__init__()
        self.clip, self._constant = clip, constant
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def adapt(self, features: Tensor) -> None:
        """Take mean and scale from training photos, float [n, width]."""
        self.mean.copy_(features.mean(0))
        spread = features.std(0, correction=0)
        # rounding noise of a nearly constant feature must not be amplified
        kept = spread > self._constant * (self.mean.abs() + spread.median())
        self.scale.copy_(torch.where(kept, spread, torch.inf))

    def normalise(self, features: Tensor) -> Tensor:
        """Return standardised features of length 1, float32 [..., width]."""
        standard = ((features - self.mean) / self.scale).clamp(-self.clip, self.clip)
        return nn.functional.normalize(standard, dim=-1)


def class_weights(label: Tensor, used: Tensor) -> Tensor:
    """Weights that give both classes the same total in each column: n / (2 * photos of the class), [n, columns]."""
    positive = label[:, None].to(used)
    total = used.sum(0)
    incorrect = (used * positive).sum(0)
    correct = total - incorrect
    # at least 1: a column that uses no photo weighs nothing, not 0 / 0
    return (positive / incorrect.clamp(min=1) + (1 - positive) / correct.clamp(min=1)) * total / 2


class Folds(NamedTuple):
    """Labels, groups and folds of the training photos.

    Attributes:
        label: int [n], 1 for Incorrect; both classes in every fold's complement.
        fold: int [n], the cross-validation fold of each photo, from 0 without gaps; no photo in fold 0 when the photos
            cannot be cross-validated.
        group: int [n], the group of each photo, from 0 without gaps.
        balance: weigh the classes to equal totals.
        times: how many of the n show the same photo, augmented copies included; together they weigh 1.
        taught: bool [n], the photos to learn from; the others only get a score. None for all.
    """

    label: Tensor
    fold: Tensor
    group: Tensor
    balance: bool
    times: int = 1
    taught: Tensor | None = None

    @property
    def once(self) -> int:
        """Number of photos without the augmented copies, which follow them."""
        return len(self.label) // self.times

    @property
    def weight(self) -> Tensor:
        """Weight of each photo in the fit to all folds but the column's, float [n, folds + 1]; the last one has all."""
        used = torch.ones(len(self.label), int(self.fold.max()) + 2)
        used[torch.arange(len(self.label)), self.fold] = 0
        if self.taught is not None:
            used[~self.taught] = 0
        return used * class_weights(self.label, used) if self.balance else used

    def held_out(self, score: Tensor) -> Tensor:
        """Select from scores [n, folds + 1] each photo's score from the fold that held it out, [n]."""
        return score[torch.arange(len(score)), self.fold]

    @property
    def validated(self) -> bool:
        """Whether there are folds."""
        return bool((self.fold == 0).any())

    @property
    def few(self) -> bool:
        """Whether a class has too few photos to compare recipes by out-of-fold scores."""
        return int(torch.bincount(self.label, minlength=2).min()) // self.times < FEW

    @property
    def mixed_groups(self) -> bool:
        """Whether at least two groups have photos of both classes."""
        kinds = torch.zeros(int(self.group.max()) + 1, 2)
        kinds[self.group, self.label] = 1
        return int((kinds.sum(1) == 2).sum()) >= 2


class Fit(NamedTuple):
    """A fit to all folds.

    Attributes:
        recipe: what was minimised.
        solution: one column per fold, and one for all photos.
        out_of_fold: score of each photo from the fit that held it out, float32 [n].
        auroc: of the out-of-fold scores.
    """

    recipe: Recipe
    solution: Solution
    out_of_fold: Tensor
    auroc: float


class LinearHead(FeatureScaler):
    """One linear unit on standardised features.

    Shapes: float [B, width] to float [B, 1].
    """

    def __init__(self, width: int, clip: float = math.inf, constant: float = 1e-4) -> None:
        super().__init__(width, clip, constant)
        self.linear = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, or scores of a ridge."""
        # not a matrix product, whose last bits depend on the batch size
        return (self.normalise(features) * self.linear.weight).sum(1, keepdim=True) + self.linear.bias

    def fit(self, features: Tensor, photos: Folds, recipes: Sequence[Recipe], taus: Sequence[float] = ()) -> Tensor:
        """Fit to training photos by the recipe whose out-of-fold scores have the highest AUROC.

        Args:
            features: float [n, tiles, width]; the highest score of a photo's tiles is the photo's.
            photos: the photos.
            recipes: candidates; the first one wins a tie.
            taus: intercept variances to try with the best recipe, if groups have photos of both classes.

        Returns:
            Out-of-fold scores, float32 [n]: photo i's from the fit to all folds but `fold[i]`.
        """
        problem = self.problem(features, photos.group)
        fits = [problem.fit(photos, recipe) for recipe in recipes]
        best, tried = max(fits, key=lambda fit: fit.auroc), {fit.recipe.words: fit.auroc for fit in fits}
        if len(recipes) > 1 and photos.mixed_groups:
            fits = [problem.fit(photos, replace(best.recipe, tau=tau)) for tau in taus]
            best = max([best, *fits], key=lambda fit: fit.auroc)
            tried |= {fit.recipe.words: fit.auroc for fit in fits}
        with torch.no_grad():
            self.linear.weight.copy_(best.solution.weight[:, -1:].T)
            self.linear.bias.copy_(best.solution.bias[-1:])
        self.recipe, self.tried = best.recipe, tried
        return best.out_of_fold

    def problem(self, features: Tensor, group: Tensor) -> "Problem":
        """Standardise features [n, tiles, width] by their mean and scale, for fits to photos of these groups [n]."""
        tiles = features.shape[1]
        rows, group = features.flatten(0, 1), group.repeat_interleave(tiles)
        self.adapt(rows)
        if len(rows) <= min(EXACT, rows.shape[1]):
            return Problem(tiles, KernelSolver(self.normalise(rows), group))
        return Problem(tiles, Solver(rows, group, self.normalise))


class Problem(NamedTuple):
    """Photos that heads are fitted to, with features decomposed once for all fits.

    Attributes:
        tiles: number of tiles of a photo.
        solver: for their standardised features, [n * tiles, width].
    """

    tiles: int
    solver: KernelSolver | Solver

    def fit(self, photos: Folds, recipe: Recipe) -> Fit:
        """Solve for all folds.

        Which tile of an Incorrect photo has the defect is unknown. At first all tiles represent it, sharing its
        weight; in later rounds only the tile that the last fit scores highest (mi-SVM, Andrews et al. 2002). The tiles
        of a Correct photo are all good and keep their shares. Each fold's fit makes its own choice.
        """
        weight, label, count, tiles = photos.weight, photos.label, len(photos.label), self.tiles
        tile_weight = torch.full((count, tiles, weight.shape[1]), 1 / tiles)
        recipe_times = replace(recipe, penalty=recipe.penalty * photos.times)
        for _ in range(_ROUNDS):
            solution = self.solver.minimise(
                label.repeat_interleave(tiles), (weight[:, None] * tile_weight).flatten(0, 1), recipe_times
            )
            score = solution.score.view(count, tiles, -1)
            updated = torch.zeros_like(tile_weight).scatter_(1, score.argmax(1, keepdim=True), 1.0)
            updated = torch.where(label[:, None, None] == 1, updated, tile_weight)
            if torch.equal(updated, tile_weight):
                break
            tile_weight = updated
        out_of_fold = photos.held_out(score.amax(1)).float()
        return Fit(recipe, solution, out_of_fold, auroc(out_of_fold.numpy(), np.asarray(label)))


def recipes_for(photos: Folds, penalty: float) -> list[Recipe]:
    """The candidate recipes; a single one if nothing can be chosen.

    Args:
        photos: the training photos.
        penalty: of the logistic loss.
    """
    logistic, ridges = Recipe("logistic", penalty), [Recipe("ridge", ridge) for ridge in RIDGES]
    if not photos.validated:
        return [logistic]
    # with few photos in a class nothing can be selected, and ridge is more stable
    return [Recipe("ridge", 1.0)] if photos.few else [logistic, *ridges]
