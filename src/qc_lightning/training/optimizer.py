"""The optimizers by name."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from qc_lightning.config import OptimConfig

_MOMENTUM = 0.9  # of sgd


def build_optimizer(
    config: OptimConfig, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], fused: bool = True
) -> torch.optim.Optimizer:
    """Build the optimizer that `optim.name` names.

    Args:
        config: name, step size and weight decay.
        parameters: to move, or groups of them that may have step sizes of their own.
        fused: one kernel for all weights; Lightning cannot clip gradients with it in mixed precision.
    """
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": fused}
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=_MOMENTUM, **common)
    return (torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam)(parameters, **common)
