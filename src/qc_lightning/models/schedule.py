"""How the step sizes of fine-tuning move: warm-up, cosine, and the pretrained stages joining one after the other."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

STAGE_LR, FALL = 0.5, 0.8  # of the head's step size, the last stage's; of that, what each earlier stage gets
JOINED_BY = 0.3  # share of the training after which all stages learn
WARM_UP = 0.05  # share of the training that each group takes to reach its step size


def groups(head: Iterable[nn.Parameter], stages: Sequence[Sequence[nn.Parameter]], lr: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: the head, then the stages from the last to the stem, ever slower."""
    slower = [{"params": list(stage), "lr": lr * STAGE_LR * FALL**place} for place, stage in enumerate(stages)]
    return [{"params": list(head), "lr": lr}, *slower]


def gradual(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Schedule of the `groups`: the head learns at once, the stages join from the last to the first (ULMFiT, 2018).

    Args:
        optimizer: its first group is the head.
        steps: of the whole training.
    """
    last = max(1, len(optimizer.param_groups) - 1)
    starts = [JOINED_BY * place / last for place in range(len(optimizer.param_groups))]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, [partial(factor, steps=steps, start=at) for at in starts])


def factor(step: int, steps: int, start: float = 0.0) -> float:
    """What the step size is multiplied by at a step: 0 before `start`, up in a line, down in a cosine to 0.

    Args:
        step: from 0.
        steps: of the whole training.
        start: share of the training at which this group begins.

    >>> [round(factor(step, 100), 2) for step in (0, 4, 5, 52, 100)]
    [0.2, 1.0, 0.99, 0.47, 0.0]
    >>> factor(29, 100, start=0.3)
    0.0
    """
    done = step / steps
    if done < start:
        return 0.0
    rising = min(1.0, (done - start) / WARM_UP + 1 / (WARM_UP * steps))
    return rising * (1 + math.cos(math.pi * min(1.0, done))) / 2
