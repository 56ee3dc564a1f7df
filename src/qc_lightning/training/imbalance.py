"""Handling of imbalanced classes, so that predicting the majority class does not pay."""

import torch
from torch import Tensor, nn

RARE = 0.4  # fraction of the rarer class below which `auto` weights the classes


def resolve_imbalance(setting: str, counts: tuple[int, int]) -> str:
    """Resolve `auto`.

    Args:
        setting: auto | none | pos_weight | sampler | focal.
        counts: training photos, (Correct, Incorrect).

    >>> resolve_imbalance("auto", (90, 90)), resolve_imbalance("auto", (1508, 715))
    ('none', 'pos_weight')
    """
    if setting != "auto":
        return setting
    return "pos_weight" if min(counts) < RARE * sum(counts) else "none"


def build_loss(kind: str, counts: tuple[int, int]) -> nn.Module:
    """The loss on logits [B] and labels [B]: binary cross-entropy, weighted when `kind` says so.

    `pos_weight` weighs Incorrect by Correct / Incorrect, so both classes weigh the same in sum; `focal` is
    `FocalLoss`; `sampler` and `none` leave the loss alone.
    """
    if kind == "pos_weight":
        return nn.BCEWithLogitsLoss(pos_weight=torch.tensor(counts[0] / counts[1]))
    return FocalLoss() if kind == "focal" else nn.BCEWithLogitsLoss()


class FocalLoss(nn.Module):
    """Focal loss (Lin et al. 2017) with gamma 2: (1 - p_t)^2 * BCE, which down-weights easy photos."""

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """Return the mean loss of logits [B] against labels [B] of 0 and 1."""
        loss = nn.functional.binary_cross_entropy_with_logits(logit, label, reduction="none")
        return ((1 - torch.exp(-loss)) ** 2 * loss).mean()
