"""The head of a pretrained network: linear on its pooled features, and on its patches if these help.

Loss, penalty, group intercepts and the weight of the patches are chosen by cross-validation, group by group, because
no fixed head was best on all datasets. The output is calibrated: at logit 0 both classes are equally likely. Without
Incorrect photos the head is the distance to the Correct ones.
"""

import math

import torch
from torch import Tensor, nn

from qc_lightning.metrics.calibration import auroc, auroc_gain, balanced_loss, platt
from qc_lightning.models.heads.distance import DistanceHead, evenly, odds
from qc_lightning.models.heads.linear import FEW, TAUS, Folds, LinearHead, recipes_for
from qc_lightning.models.heads.patches import PatchHead, highest

_TAIL_WEIGHTS = (0.0, 1.0, 2.0)  # of a fine-tuned tail's logit relative to the logit of both heads
_PATCH_WEIGHTS = (0.5, 1.0, 2.0)  # relative to the pooled features', both scores at standard deviation 1; or none
_ENOUGH = 250  # photos of each class that choose the weight of the distance: each distance takes milliseconds
_DISTANCE_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)  # relative to the sum of both, all at standard deviation 1
_OF_FEW = 2.0  # weight of the distance if a class has too few photos for out-of-fold scores to choose it


class FittedHead(nn.Module):
    """The sum of two linear heads, the score of a fine-tuned tail on patches, and the distance to Correct photos.

    Shapes: float [B, width + cells * channels] to float [B, 1].

    Args:
        width: number of pooled features of a photo.
        clip: standard deviations at which a pooled feature is clipped.
        patches: cells of the patch map and channels of each; None without patches.
        tail: whether the last of these channels is the score of a fine-tuned tail.
        distance: whether the distance to Correct photos is used.

    Attributes:
        choice: the selection, in words.
        tried: AUROC of the out-of-fold scores of each candidate, by words.
        platt: slope and offset from out-of-fold scores (at mean 0 and standard deviation 1) to logits; None if not
            calibrated.
    """

    tail: Tensor

    def __init__(
        self,
        width: int,
        clip: float = math.inf,
        patches: tuple[int, int] | None = None,
        tail: bool = False,
        distance: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.cells = width, patches
        # features come in half precision where there are patches
        self.pooled = LinearHead(width, clip) if patches is None else LinearHead(width, clip, constant=1e-3)
        frozen = None if patches is None else (patches[0], patches[1] - tail)
        self.patches = PatchHead(frozen[1]) if frozen is not None else None
        self.distance = DistanceHead(width, frozen) if distance else None
        self.register_load_state_dict_pre_hook(_drop_distance)  # type: ignore[no-untyped-call]
        self.has_tail = tail
        if tail:
            self.register_buffer("tail", torch.zeros(()))
        self.choice = ""
        self.tried: dict[str, float] = {}
        self.platt: tuple[float, float] | None = None

    @property
    def record(self) -> dict[str, object]:
        """The choice and the candidates, for metrics.json."""
        calibrated = {} if self.platt is None else {"platt": dict(zip(("slope", "offset"), self.platt, strict=True))}
        return {"choice": self.choice, "auroc_out_of_fold": self.tried, **calibrated}

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        pooled, patches = self.split(features)
        logit: Tensor = self.pooled(pooled)
        if self.patches is not None:
            logit = logit + self.patches(self.frozen_patches(patches))
        if self.distance is not None:
            logit = logit + self.distance(pooled, self.frozen_patches(patches))
        return logit + highest(self._tail_scores(patches))[:, None] if self.has_tail else logit

    def patch_scores(self, patches: Tensor) -> list[Tensor]:
        """Return scores [B, cells] without biases: the mean of the two highest of each is part of the logit."""
        if self.patches is None:
            return []
        linear = self.patches.patch_scores(self.frozen_patches(patches)) - self.patches.linear.bias
        return [linear, self._tail_scores(patches)] if self.has_tail else [linear]

    def frozen_patches(self, patches: Tensor) -> Tensor:
        """Patches [..., channels] without the score of a tail."""
        return patches[..., :-1] if self.has_tail else patches

    def _tail_scores(self, patches: Tensor) -> Tensor:
        return self.tail * patches[..., -1].float()

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features, float32 [..., width], and patches as they are, [..., cells, channels]."""
        pooled, patches = features[..., : self.width].float(), features[..., self.width :]
        return pooled, patches.view(*patches.shape[:-1], *self.cells) if self.cells else patches

    def fit(self, features: Tensor, photos: Folds, penalty: float) -> Tensor:
        """Fit to training photos and return their out-of-fold logits.

        Args:
            features: float [n, tiles, width + cells * channels]; the highest logit of a photo's tiles is the photo's.
            photos: the photos.
            penalty: of the logistic loss.

        Returns:
            Out-of-fold logits, float32 [photos.once], no copies: photo i's from the fit to all folds but `fold[i]`.
        """
        pooled, patches = self.split(features)
        if not photos.label.any():
            return self._fit_to_correct(pooled, patches[:, 0], photos)
        score = self.pooled.fit(pooled, photos, recipes_for(photos, penalty), TAUS)
        self.choice, self.tried = self.pooled.recipe.words, dict(self.pooled.tried) if photos.validated else {}
        if not photos.validated:  # neither a weight of the patches nor of the distance can be estimated
            self.distance = None
            if self.patches is not None:
                _scale(self.patches.linear, 0.0, 0.0)
            return score[: photos.once]
        total, patch_weight, patch_spread = self._add_patches(score / score.std(), patches[:, 0], photos)
        total, distance_factor = self._add_distance(total, pooled, patches[:, 0], photos)
        slope, offset = platt(total.numpy(), photos.label[: photos.once].numpy())
        self.platt = _at_standard(slope, offset, total)
        _scale(self.pooled.linear, slope / float(score.std()), offset)
        if self.patches is not None:
            _scale(self.patches.linear, slope * patch_weight / patch_spread, 0.0)
        if self.distance is not None:
            self.distance.scale(slope * distance_factor, 0.0)
        return slope * total + offset

    def combine(self, frozen: "FittedHead", score: Tensor, tail: Tensor, label: Tensor) -> Tensor:
        """Add a tail's logit at the weight with the lowest out-of-fold loss, with equal class weights.

        A tail that does not help gets weight 0, and so does one if a class has too few photos.

        Args:
            frozen: the head without a tail, fitted to the same photos.
            score: float [n], its out-of-fold logits.
            tail: float [n], out-of-fold logits of the tail.
            label: int [n], 1 for Incorrect.

        Returns:
            Out-of-fold logits of the sum, calibrated, float32 [n].
        """
        truth = label.numpy()
        weights = _TAIL_WEIGHTS if int(torch.bincount(label, minlength=2).min()) >= FEW else (0.0,)
        sums = {weight: (score + weight * tail).numpy() for weight in weights}
        weight = min(sums, key=lambda w: balanced_loss(sums[w], truth))
        total = score + weight * tail
        slope, offset = platt(total.numpy(), truth)
        self.platt = _at_standard(slope, offset, total)
        self.load_state_dict(frozen.state_dict() | {"tail": torch.tensor(slope * weight)})
        _scale(self.pooled.linear, slope, offset)
        assert self.patches is not None
        _scale(self.patches.linear, slope, 0.0)
        self.choice = f"{frozen.choice}, fine-tuned patches weigh {weight:g}"
        if self.distance is not None:
            self.distance.scale(slope * float(self.distance.slope), 0.0)
        of_tail = {f"fine-tuned patches weigh {w:g}": auroc(values, truth) for w, values in sums.items()}
        self.tried = frozen.tried | of_tail
        return slope * total + offset

    def _add_patches(self, total: Tensor, patches: Tensor, photos: Folds) -> tuple[Tensor, float, float]:
        """Fit the head on patches, and add its out-of-fold scores to `total` [n] at the weight with the highest AUROC.

        Returns:
            The sums [n], the weight, and the standard deviation of the patches' scores, which the weight is for.
        """
        if self.patches is None:
            return total, 0.0, 1.0
        score = self.patches.fit(patches, photos)
        spread = score.std()
        sums = {weight: total + weight * (score / spread) for weight in (0.0, *_PATCH_WEIGHTS)}
        ranked = {weight: auroc(values.numpy(), photos.label.numpy()) for weight, values in sums.items()}
        weight = max(ranked, key=ranked.__getitem__)
        self.choice += f", patches weigh {weight:g}"
        self.tried |= {f"the best of these, patches weigh {w:g}": value for w, value in ranked.items()}
        return sums[weight], weight, float(spread)

    def _add_distance(self, total: Tensor, pooled: Tensor, patches: Tensor, photos: Folds) -> tuple[Tensor, float]:
        """Return the sums of `total` [n] and the distances, without copies [photos.once], and a distance's factor.

        Augmented copies also choose the weight, since a distance that ranks photos well may rise with their light.
        """
        once, label = slice(photos.once), photos.label
        if self.distance is None:
            return total[once], 0.0
        distances = self.distance.held_out(pooled, patches, photos)
        of_class = [evenly(torch.nonzero(label == kind)[:, 0], _ENOUGH) for kind in (0, 1)]
        some = torch.arange(photos.once) if photos.few else torch.cat(of_class)
        measured = torch.full((len(label),), torch.nan)
        measured[some] = distances.measure(some)
        spread = float(measured[some].std())
        weight = _OF_FEW if photos.few else self._weigh_distance(total[some], measured[some], spread, label[some])
        self.choice += f", distance to Correct photos weighs {weight:g}"
        if weight == 0:
            self.distance = None
            return total[once], 0.0
        rest = torch.nonzero(measured[once].isnan())[:, 0]
        measured[rest] = distances.measure(rest)
        self.distance.fit(pooled, patches, label == 0, measured[once][label[once] == 0])
        return total[once] + weight / spread * measured[once], weight / spread

    def _weigh_distance(self, total: Tensor, measured: Tensor, spread: float, label: Tensor) -> float:
        """The weight with the highest AUROC for distances [m] of some photos beside their scores `total` [m].

        It is 0 if the gain is no more than its standard error: a distance costs time with every photo.
        """
        truth = label.numpy()
        sums = {weight: (total + weight * measured / spread).numpy() for weight in _DISTANCE_WEIGHTS}
        ranked = {weight: auroc(values, truth) for weight, values in sums.items()}
        self.tried |= {f"then the distance weighs {weight:g}": value for weight, value in ranked.items()}
        weight = max(ranked, key=ranked.__getitem__)
        gain, error = auroc_gain(sums[weight], sums[0.0], truth)
        return weight if gain > error else 0.0

    def _fit_to_correct(self, pooled: Tensor, patches: Tensor, photos: Folds) -> Tensor:
        """Use only the distance to Correct photos, if there are no Incorrect ones."""
        assert self.distance is not None
        for linear in (part.linear for part in (self.pooled, self.patches) if part is not None):
            _scale(linear, 0.0, 0.0)
        distances = self.distance.held_out(pooled, patches, photos).measure(torch.arange(photos.once))
        self.distance.fit(pooled, patches, photos.label == 0, distances)
        slope, offset = odds(distances)
        self.distance.scale(slope, offset)
        what = "small patches" if self.distance.of_patches else "pooled features"
        self.choice = f"distance of {what} to those of Correct photos, as there are no Incorrect ones"
        return slope * distances + offset


def _drop_distance(head: FittedHead, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Drop the distance of a head whose state has none, because it did not help."""
    if not any(name.startswith(f"{prefix}distance.") for name in state):
        head.distance = None


def _at_standard(slope: float, offset: float, score: Tensor) -> tuple[float, float]:
    """Slope and offset for the same scores at mean 0 and standard deviation 1."""
    return slope * float(score.std()), slope * float(score.mean()) + offset


def _scale(linear: nn.Linear, slope: float, offset: float) -> None:
    with torch.no_grad():
        linear.weight.mul_(slope)
        linear.bias.mul_(slope).add_(offset)
