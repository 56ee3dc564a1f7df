"""Evidence of a head on fixed features: how and where a photo differs from the average training photo.

The linear head standardises its features: the logit is the head's bias plus, for each feature, its weight times the
standardised deviation from its mean over the training photos. Each feature is pooled from one map: an average from all
cells, a spread from the cells that deviate from their mean, a maximum from one cell. A second head on small patches, or
a fine-tuned tail, adds the scores of its two highest patches; a third head adds the distance to the patches of Correct
photos, distributed by each patch's deviation. The complete logit can therefore be distributed over the photo. Class
activation maps ignore the training photos' mean, so that what all parts have in common hides the defect.

After fine-tuning, the head still standardises by the earlier means, although the features have changed. With these, the
maps of 75% of 48 ELPV photos passed the check against random maps; with the new means, 69%.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from qc_lightning.models.heads.distance import DistanceHead
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.patches import TOP
from qc_lightning.models.network import FLIPS, Look, Network
from qc_lightning.models.tiles import join, split

Share = Callable[[Tensor, Tensor], Tensor]
"""From maps [N, C, h, w] and the features' means [C] to each cell's share of the deviation, [N, C, h, w]."""
Layout = Callable[[Network, Sequence[Look], Tensor, tuple[int, int]], tuple[Tensor, Tensor]]
"""From a network, its maps of each view, their features and a tile's side to maps of photos and logits."""


def _avg(maps: Tensor, mean: Tensor) -> Tensor:
    return (maps - mean[:, None, None]) / maps[0, 0].numel()


def _std(maps: Tensor, mean: Tensor) -> Tensor:
    square = (maps - maps.mean((2, 3), keepdim=True)).square()
    deviation = (square.mean((2, 3)) + 1e-6).sqrt() - mean
    return square / square.sum((2, 3), keepdim=True).clamp_min(1e-12) * deviation[..., None, None]


def _max(maps: Tensor, mean: Tensor) -> Tensor:
    most, place = maps.flatten(2).max(2)
    only = torch.zeros_like(maps).flatten(2).scatter_(2, place[..., None], (most - mean)[..., None])
    return only.view_as(maps)


_SHARES: dict[str, Share] = {"avg": _avg, "std": _std, "max": _max}


def has_evidence(network: nn.Module) -> bool:
    """Whether a network's logit can be traced: linear on standardised features, each pooled from one map.

    A distance can be traced if it is a distance of patches.
    """
    if not isinstance(network, Network) or not isinstance(network.head, FittedHead):
        return False
    distance = network.head.distance
    if distance is not None and not distance.of_patches:
        return False
    with torch.no_grad():
        maps = network.backbone(torch.zeros(1, 3, 224, 224, device=network.head.pooled.mean.device))
    # false if the network has layers between pooling and classifier, or no maps
    pooled = sum(one.shape[1] for one in maps) * len(network.pool)
    return bool(network.head.width == pooled and maps[-1].shape[2] > 1)


def has_distance(network: nn.Module) -> bool:
    """Whether a network's head counts the distance of patches to those of Correct photos."""
    head = network.head if isinstance(network, Network) else None
    return isinstance(head, FittedHead) and head.distance is not None and head.distance.of_patches


def _spread(cells: Tensor, side: tuple[int, int]) -> Tensor:
    """Spread cells [N, 1, h, w] over the pixels of a tile, [N, H, W], keeping the sum."""
    size = cells.shape[2] * cells.shape[3] / (side[0] * side[1])
    return size * nn.functional.interpolate(cells, side, mode="bilinear")[:, 0]


def evidence(network: Network, image: Tensor) -> tuple[Tensor, Tensor]:
    """Trace logits back to pixels.

    Args:
        network: a network for which `has_evidence` is true.
        image: float [B, 3, H, W] in [0, 1].

    Returns:
        Evidence for Incorrect [B, H, W], negative for Correct, and the logits [B]. The evidence of a photo sums to the
        logit minus the heads' biases, as far as resizing the maps keeps sums; of tiled photos it is all in the worst
        tile.
    """
    return _laid_out_by(lay_out, network, image)


def distances(network: Network, image: Tensor) -> tuple[Tensor, Tensor]:
    """How much farther each spot of photos is from Correct photos than the photo's average spot.

    Args:
        network: a network for which `has_distance` is true.
        image: float [B, 3, H, W] in [0, 1].

    Returns:
        The difference times the distance's weight in the logit, [B, H, W], with sum 0, and the logits [B].
    """
    return _laid_out_by(lay_out_distances, network, image)


def _laid_out_by(lay: Layout, network: Network, image: Tensor) -> tuple[Tensor, Tensor]:
    tiles = split(image, network.tiles)
    with torch.no_grad():
        looks = [network.look(tiles, axes) for axes in FLIPS[: network.views]]
        return lay(network, looks, network.join(looks), (tiles.shape[2], tiles.shape[3]))


def lay_out(network: Network, looks: Sequence[Look], features: Tensor, side: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Distribute the logits over the photos' pixels, from the maps of each view.

    Args:
        network: a network for which `has_evidence` is true.
        looks: the network's maps of the B * tiles tiles, for each of its views.
        features: [B * tiles, F] of these views, as `Network.join` makes them.
        side: height and width of a tile in pixels.

    Returns:
        As `evidence`.
    """
    head = cast(FittedHead, network.head)
    pooled = head.pooled
    flips = FLIPS[: network.views]
    views = [[one.flip(axes) if axes else one for one in look.maps] for look, axes in zip(looks, flips, strict=True)]
    logit = head(features)
    feature, patches = head.split(features)
    # average slope of the logit from the mean to the feature, including clipping and normalisation
    slope = (pooled.normalise(feature) * pooled.linear.weight / (feature - pooled.mean)).nan_to_num(0, 0, 0)
    heat = torch.zeros(feature.shape[0], *side, device=feature.device)
    begin = 0
    for stage in zip(*views, strict=True):  # the same stage in each view
        channels = stage[0].shape[1]
        for pool in network.pool:
            part = slice(begin, begin := begin + channels)
            shares = torch.stack([_SHARES[pool](maps, pooled.mean[part]) for maps in stage]).mean(0)
            cells = (slope[:, part, None, None] * shares).sum(1, keepdim=True)
            heat = heat + _spread(cells, side)
    if (patch_map := looks[0].patch_map) is not None:
        for scores in head.patch_scores(patches):
            best = scores.topk(min(TOP, scores.shape[1]), dim=1)
            cells = torch.zeros_like(scores, dtype=heat.dtype).scatter(
                1, best.indices, best.values / best.values.shape[1]
            )
            heat = heat + _spread(cells.view(-1, 1, *patch_map.shape[2:]), side)
        if head.distance is not None:
            frozen = head.frozen_patches(patches)
            heat = heat + _spread(_distance_cells(head.distance, frozen, patch_map.shape[2:]), side)
    by_photo = logit.view(-1, network.tiles[0] * network.tiles[1])
    highest_tile = nn.functional.one_hot(by_photo.argmax(1), by_photo.shape[1]).flatten()
    laid = join((heat * highest_tile[:, None, None])[:, None], network.tiles)[:, 0]
    return laid, by_photo.amax(1)


def lay_out_distances(
    network: Network, looks: Sequence[Look], features: Tensor, side: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """As `lay_out`, of how much farther each spot is from Correct photos than the photo's average spot."""
    head = cast(FittedHead, network.head)
    patch_map = looks[0].patch_map
    assert head.distance is not None
    assert patch_map is not None
    off = head.distance.of_cells(head.frozen_patches(head.split(features)[1]))
    cells = head.distance.slope * (off - off.mean(1, keepdim=True)) / off.shape[1]
    return _spread(cells.view(-1, 1, *patch_map.shape[2:]), side), head(features).flatten()


def _distance_cells(head: DistanceHead, patches: Tensor, side: Sequence[int]) -> Tensor:
    """Distribute the distance's part of the logit, without its offset, by each patch's excess over the mean distance.

    Args:
        head: head on patches.
        patches: [N, h * w, channels].
        side: h and w.

    Returns:
        [N, 1, h, w].
    """
    off = head.of_cells(patches)
    excess = (off - off.mean(1, keepdim=True)).relu()
    fraction = excess / excess.sum(1, keepdim=True).clamp_min(1e-12)
    return (head.slope * head.of_photo(off)[:, None] * fraction).view(-1, 1, *side)
