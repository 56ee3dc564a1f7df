"""A linear head on small patches of a photo: the photo is as bad as its two worst patches (multiple-instance learning).

Pooled features describe a photo globally; a small defect changes few of them, and only slightly, but its own patches
strongly.
"""

import math

import torch
from torch import Tensor, nn

from qc_lightning.models.heads.linear import Folds

_STEPS, _LR, _LAST_LR, _DECAY = 80, 0.03, 0.003, 0.02
_AVERAGED = 0.3  # share of the steps, the last ones, whose weights are averaged
TOP = 2  # patches that stand for a photo
_AT_ONCE = 64  # photos whose patches are converted to single precision at a time
_LIKELY, _LOOK_EVERY = 8, 10  # highest patches per photo and fold that a step uses; steps between searches of all


def highest(scores: Tensor) -> Tensor:
    """Return the mean of the two highest scores, [...], of [..., patches]; of a small photo there may be one."""
    return scores.topk(min(TOP, scores.shape[-1]), dim=-1).values.mean(-1)


class PatchHead(nn.Module):
    """One linear unit on standardised patches; a photo's score is the mean of its two highest.

    Shapes: float [B, patches, width] to float [B, 1].

    Args:
        width: numbers that describe a patch.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = nn.Linear(width, 1)

    def forward(self, patches: Tensor) -> Tensor:
        """Return the photos' scores."""
        return highest(self.patch_scores(patches))[:, None]

    def patch_scores(self, patches: Tensor) -> Tensor:
        """Return every patch's score, [B, patches]: a photo's score is the mean of its two highest."""
        # not a matrix product, whose last bits depend on the batch size
        standard = (patches.float() - self.mean) / self.scale
        return (standard * self.linear.weight[0]).sum(2) + self.linear.bias

    def fit(self, patches: Tensor, photos: Folds) -> Tensor:
        """Fit to training photos and return their out-of-fold scores.

        Full-batch Adam from zero, all folds as columns of one matrix. Started at the patches that lie farthest from
        Correct ones, as latent support vector machines are, it collapses.

        Args:
            patches: float16 [n, patches, width].
            photos: the photos.

        Returns:
            Out-of-fold scores, float32 [n]: photo i's from the fit to all folds but `fold[i]`.
        """
        raw, bias = self.solve(patches, photos)
        scores = [highest((some.float() @ raw).transpose(1, 2)) for some in torch.split(patches, _AT_ONCE)]
        return photos.held_out(torch.cat(scores) + bias - self.mean @ raw)

    def solve(self, patches: Tensor, photos: Folds) -> tuple[Tensor, Tensor]:
        """Weights [width, folds + 1] and biases for patches less their mean; the last column is of all photos."""
        self._adapt(patches)
        photo_weight = photos._replace(balance=True).weight
        photo_weight = photo_weight / photo_weight.sum(0).clamp(min=1)
        target = photos.label[:, None].float()
        weight, bias = torch.zeros(patches.shape[2], photo_weight.shape[1]), torch.zeros(photo_weight.shape[1])
        moments = [torch.zeros_like(each) for each in (weight, weight, bias, bias)]
        total_weight, total_bias, averaged = torch.zeros_like(weight), torch.zeros_like(bias), 0
        for step in range(_STEPS):
            if step < _LOOK_EVERY or step % _LOOK_EVERY == 0:
                likely = self._likely(patches, weight)
            best, place = (likely @ weight).topk(min(TOP, likely.shape[1]), dim=1)  # [n, top, columns]
            residual = photo_weight * (torch.sigmoid(best.mean(1) + bias) - target)
            each = residual / best.shape[1]
            slope = torch.zeros_like(weight)
            for top in place.unbind(1):
                for column, patch in enumerate(top.T):
                    slope[:, column] += likely[torch.arange(len(likely)), patch].T @ each[:, column]
            lr = _LAST_LR + (_LR - _LAST_LR) * (1 + math.cos(math.pi * step / _STEPS)) / 2
            _adam(weight, slope + _DECAY * weight, moments[0], moments[1], step, lr)
            _adam(bias, residual.sum(0), moments[2], moments[3], step, lr)
            if step >= _STEPS * (1 - _AVERAGED):
                total_weight += weight
                total_bias += bias
                averaged += 1
        weight, bias = total_weight / averaged, total_bias / averaged
        with torch.no_grad():
            self.linear.weight.copy_(weight[:, -1:].T)
            self.linear.bias.copy_(bias[-1:])
        raw = weight / self.scale[:, None]
        return raw, bias

    def _adapt(self, patches: Tensor) -> None:
        """Take mean and scale from training photos' patches."""
        total, square = torch.zeros(2, patches.shape[2], dtype=torch.float64)
        for some in torch.split(patches, _AT_ONCE):
            total += some.double().sum((0, 1))
            square += some.double().square().sum((0, 1))
        count = patches.shape[0] * patches.shape[1]
        self.mean.copy_(total / count)
        self.scale.copy_((square / count - (total / count) ** 2).clamp(min=0).sqrt().clamp(min=1e-4))

    def _likely(self, patches: Tensor, weight: Tensor) -> Tensor:
        """The highest-scoring patches of each photo in any column, standardised, [n, few, width]."""
        raw = weight / self.scale[:, None]
        likely = []
        for some in torch.split(patches, _AT_ONCE):
            some = some.float()
            place = (some @ raw).topk(min(_LIKELY, some.shape[1]), dim=1).indices.flatten(1)
            likely.append((some[torch.arange(len(some))[:, None], place] - self.mean) / self.scale)
        return torch.cat(likely)


def _adam(value: Tensor, slope: Tensor, first: Tensor, second: Tensor, step: int, lr: float) -> None:
    """One step of Adam (Kingma & Ba 2015) in place."""
    first.lerp_(slope, 0.1)
    second.lerp_(slope.square(), 0.001)
    rate = lr / (1 - 0.9 ** (step + 1))
    value -= rate * first / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
