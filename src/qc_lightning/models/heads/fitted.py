"""The head of a pretrained network: linear on its pooled features, and on its patches where these help.

Loss, penalty, groups' intercepts and the weight of the patches are chosen by cross-validation, whole groups at a time:
no fixed head was best on all photo sets. What comes out is calibrated: at logit 0 both classes are equally likely.
"""

import math

import torch
from torch import Tensor, nn

from qc_lightning.metrics.calibration import auroc, platt
from qc_lightning.models.heads.linear import RIDGES, TAUS, Folds, LinearHead
from qc_lightning.models.heads.patches import PatchHead
from qc_lightning.models.heads.solver import Recipe

_PATCH_WEIGHTS = (0.5, 1.0, 2.0)  # beside the pooled features', both scores at standard deviation 1; or none


class FittedHead(nn.Module):
    """The sum of two linear heads.

    Shapes: float [B, width + cells * channels] to float [B, 1].

    Args:
        width: pooled features of a photo.
        clip: standard deviations at which a pooled feature is cut off.
        patches: cells of the patch map and channels of each; None without patches.

    Attributes:
        choice: what was chosen, in words.
    """

    def __init__(self, width: int, clip: float = math.inf, patches: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.width, self.cells = width, patches
        # features come in half precision where there are patches
        self.pooled = LinearHead(width, clip) if patches is None else LinearHead(width, clip, constant=1e-3)
        self.patches = PatchHead(patches[1]) if patches is not None else None
        self.choice = ""

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        pooled, patches = self.split(features)
        logit: Tensor = self.pooled(pooled)
        return logit if self.patches is None else logit + self.patches(patches)

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features, float32 [..., width], and patches as they are, [..., cells, channels]."""
        patches = features[..., self.width :]
        return features[..., : self.width].float(), patches.view(
            *patches.shape[:-1], *self.cells
        ) if self.cells else patches

    def fit(self, features: Tensor, photos: Folds, penalty: float) -> Tensor:
        """Fit to training photos and return what the photos get from models that have not seen them.

        Args:
            features: float [n, tiles, width + cells * channels]; the highest logit of a photo's tiles is the photo's.
            photos: the photos.
            penalty: of the logistic loss.

        Returns:
            Out-of-fold logits, float32 [n]: photo i's from the fit to all folds but `fold[i]`.
        """
        pooled, patches = self.split(features)
        score = self.pooled.fit(pooled, photos, self._recipes(photos, penalty), TAUS)
        self.choice = self.pooled.recipe.words
        if not photos.validated:
            return score
        label, weight, second = photos.label.numpy(), 0.0, torch.zeros(())
        first = score / score.std()
        if self.patches is not None:
            second = self.patches.fit(patches[:, 0], photos)
            second, spread = second / second.std(), second.std()
            sums = {share: auroc((first + share * second).numpy(), label) for share in (0.0, *_PATCH_WEIGHTS)}
            weight = max(sums, key=sums.__getitem__)
            self.choice += f", patches weigh {weight:g}"
        slope, offset = platt((first + weight * second).numpy(), label)
        _scale(self.pooled.linear, slope / float(score.std()), offset)
        if self.patches is not None:
            _scale(self.patches.linear, slope * weight / float(spread), 0.0)
        return slope * (first + weight * second) + offset

    def _recipes(self, photos: Folds, penalty: float) -> list[Recipe]:
        logistic, ridges = Recipe("logistic", penalty), [Recipe("ridge", ridge) for ridge in RIDGES]
        if not photos.validated:
            return [logistic]
        # with few photos of a class nothing can be chosen, and a ridge is the steadier
        return [Recipe("ridge", 1.0)] if photos.few else [logistic, *ridges]


def _scale(linear: nn.Linear, slope: float, offset: float) -> None:
    with torch.no_grad():
        linear.weight.mul_(slope)
        linear.bias.mul_(slope).add_(offset)
