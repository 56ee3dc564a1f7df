"""Checks of heat maps against the defect's mask, random maps and shuffled weights."""

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qc_lightning.explanation.heat import Heat, smooth

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

TOLERANCE = 0.03  # fraction of the longer side: Zhang et al. (2016) use 15 pixels on photos of 500
SHARES = (0.02, 0.05, 0.1)  # fractions of pixels removed
RANDOM = 3  # number of random maps to compare each photo's map with
_BLUR = 0.1  # fraction of the longer side: standard deviation of the blur that replaces removed pixels


def points_at(heat: Map, mask: Mask, tolerance: float = TOLERANCE) -> bool:
    """Pointing game: whether the hottest pixel is in the mask or within the tolerance of it.

    Args:
        heat: [H, W].
        mask: [H, W], true on the defect; true somewhere.
        tolerance: as a fraction of the longer side.

    >>> heat, mask = np.zeros((100, 100), np.float32), np.zeros((100, 100), bool)
    >>> heat[50, 53], mask[50, 50] = 1, True
    >>> points_at(heat, mask), points_at(heat, mask, tolerance=0.02)
    (True, False)
    """
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    ys, xs = np.nonzero(mask)
    return bool(heat.any()) and bool(np.hypot(ys - y, xs - x).min() <= tolerance * max(mask.shape))


def chance(mask: Mask, tolerance: float = TOLERANCE) -> float:
    """Probability that a random pixel wins the pointing game.

    >>> mask = np.zeros((10, 10), bool)
    >>> mask[4:6, 4:6] = True
    >>> chance(mask, 0), chance(mask, 0.1)
    (0.04, 0.12)
    """
    from scipy.ndimage import distance_transform_edt

    return float((distance_transform_edt(~mask) <= tolerance * max(mask.shape)).mean())


def share_inside(heat: Map, mask: Mask) -> float:
    """Fraction of the heat inside the mask, 0 to 1; 0 for a map without heat."""
    total = float(heat.sum(dtype=np.float64))
    return float(heat[mask].sum(dtype=np.float64)) / total if total > 0 else 0.0


@torch.no_grad()
def fall(network: nn.Module, image: Tensor, heat: Map, incorrect: bool) -> float:
    """Deletion: decrease of the evidence when the hottest pixels are blurred (after Petsiuk et al. 2018).

    Args:
        network: maps photos to logits.
        image: float [1, 3, H, W] in [0, 1].
        heat: [H, W].
        incorrect: whether the evidence is the logit, or for Correct its negative.

    Returns:
        Logit before minus logit after, averaged over the fractions SHARES of pixels removed.
    """
    blurred = smooth(image[0].cpu(), _BLUR).to(image)
    order = torch.from_numpy(heat).flatten().argsort(descending=True, stable=True).to(image.device)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=image.device)
    rank = rank.view(heat.shape)
    versions = [image[0]] + [torch.where(rank < fraction * rank.numel(), blurred, image[0]) for fraction in SHARES]
    logit = torch.cat([network(version[None]) for version in versions]).float().cpu()
    return float((logit[0] - logit[1:]).mean()) * (1 if incorrect else -1)


def random_maps(shape: tuple[int, int], seed: int) -> list[Map]:
    """Noise maps [H, W], as smooth as heat maps: the baseline of the checks."""
    noise = torch.randn(RANDOM, *shape, generator=torch.Generator().manual_seed(seed))
    return list(smooth(noise).relu().numpy())


def randomised(network: nn.Module, method: str, image: Tensor, incorrect: Sequence[bool]) -> list[tuple[str, float]]:
    """Sanity check (Adebayo et al. 2018): shuffle the weights from the head down; the maps must change.

    Args:
        network: maps photos to logits.
        method: method of the heat maps.
        image: float [B, 3, H, W] in [0, 1].
        incorrect: for each photo, whether evidence for Incorrect is sought.

    Returns:
        For each step the layers shuffled so far, and the mean rank correlation of the maps with those of the trained
            network: 1 for maps independent of the weights, about 0 for maps that depend on them.
    """
    before = _ranks(Heat(network, method)(image, incorrect)[0])
    shuffled = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    correlations = []
    for name, parameters in _groups(shuffled):
        for parameter in parameters:
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.data = parameter.data.flatten()[order].view(parameter.shape)
        after = _ranks(Heat(shuffled, method)(image, incorrect)[0])
        correlations.append((name, float((before * after).mean(1).mean())))
    return correlations


def _groups(network: nn.Module) -> list[tuple[str, list[nn.Parameter]]]:
    """The layers shuffled in each step: a perceptron's from the last layer on, or the head and then stage by stage."""
    from qc_lightning.models.network import Network

    if isinstance(network, Network):
        stages = [parameters for parameters in network.stage_parameters() if parameters]
        named = [(f"and stage {len(stages) - place}", parameters) for place, parameters in enumerate(stages)]
        return [("head", list(network.head.parameters())), *named]
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return [(f"layer {len(layers) - i}", list(layer.parameters())) for i, layer in enumerate(reversed(layers))]


def _ranks(heat: Map) -> Tensor:
    """Standardised ranks [B, cells] of the heat on a coarse grid, since neighbouring pixels are redundant."""
    coarse = nn.functional.adaptive_avg_pool2d(torch.from_numpy(heat)[:, None], 32).flatten(1)
    ranks = coarse.argsort(dim=1, stable=True).argsort(dim=1).double()
    standard: Tensor = (ranks - ranks.mean(1, keepdim=True)) / ranks.std(1, correction=0, keepdim=True)
    return standard
