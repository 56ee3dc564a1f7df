"""What heads on fixed features share: features of several stages differ in scale by orders of magnitude."""

import math

import torch
from torch import Tensor, nn


class FeatureScaler(nn.Module):
    """Standardise each feature, cut off what is far out, scale each photo's features to length 1.

    Standardised, all features are treated alike, and at length 1 no photo weighs more because it is busy or bright. A
    maximum over a map that was nearly the same on all training photos can be a hundred standard deviations off on the
    next one, and at length 1 it would leave nothing of the other features; hence the cut.

    Args:
        width: features of a photo.
        clip: standard deviations at which a feature is cut off.
        constant: a feature that spreads by less than this share of its mean says nothing.
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
        # what rounding leaves of a feature that is all but constant over the training photos must not be blown up
        kept = spread > self._constant * (self.mean.abs() + spread.median())
        self.scale.copy_(torch.where(kept, spread, torch.inf))

    def normalise(self, features: Tensor) -> Tensor:
        """Return standardised features of length 1, float32 [..., width]."""
        standard = ((features - self.mean) / self.scale).clamp(-self.clip, self.clip)
        return nn.functional.normalize(standard, dim=-1)
