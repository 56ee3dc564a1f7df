"""Evidence of a head on fixed features: what makes this photo differ from the average training photo, and where.

The linear head standardises its features, so what counts is how far each lies from its mean over the training photos:
the logit is the head's bias plus a share of each feature, its weight times that standardised deviation. And each
feature is pooled from one map: an average from all of its cells, a spread from the cells that lie off their mean, a
maximum from one cell. So the whole logit can be laid out over the photo, with nothing left over. Class activation maps
leave the training photos' mean out, and what all parts have in common hides the defect.

After fine-tuning the head still standardises by the means from before it, although the features have moved. Of 48 ELPV
photos' maps, 75% passed the check against random maps so, and 69% when laid out from the new means.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from qc_lightning.models.heads.logistic import LogisticHead
from qc_lightning.models.network import FLIPS, Network
from qc_lightning.models.tiles import join, split

Share = Callable[[Tensor, Tensor], Tensor]
"""Maps [N, C, h, w] and the features' means [C] to each cell's part in the deviation from them, [N, C, h, w]."""


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
    """Whether a network's logit can be traced so: linear on standardised features, each pooled from one map."""
    if not isinstance(network, Network) or not isinstance(network.head, LogisticHead):
        return False
    with torch.no_grad():
        maps = network.backbone(torch.zeros(1, 3, 224, 224, device=network.head.mean.device))
    # not so where the network has layers between its pooling and its classifier, or no maps
    pooled = sum(one.shape[1] for one in maps) * len(network.pool)
    return bool(network.width == pooled and maps[-1].shape[2] > 1)


def evidence(network: Network, image: Tensor) -> tuple[Tensor, Tensor]:
    """Trace logits back to the photos.

    Args:
        network: one that `has_evidence`.
        image: float [B, 3, H, W] in [0, 1].

    Returns:
        Evidence for Incorrect [B, H, W], against it where negative: over a photo it adds up to the logit less the
        head's bias, as far as resizing the maps keeps sums; of photos in tiles all of it lies in the worst tile. And
        the logits [B].
    """
    tiles = split(image, network.tiles)
    with torch.no_grad():
        flips = FLIPS[: network.views]
        seen = [network.backbone(tiles.flip(axes).contiguous(memory_format=torch.channels_last)) for axes in flips]
        feature = torch.stack([network.pooled(maps) for maps in seen]).mean(0)
        return lay_out(network, seen, feature, (tiles.shape[2], tiles.shape[3]))


def lay_out(
    network: Network, seen: Sequence[Sequence[Tensor]], feature: Tensor, side: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Lay the logits out over the photos, from the maps of each view.

    Args:
        network: one that `has_evidence`.
        seen: for each view the backbone's maps [B * tiles, C, h, w] of the mirrored tiles.
        feature: [B * tiles, F] of these maps, averaged over the views.
        side: height and width of a tile in pixels.

    Returns:
        As `evidence`.
    """
    head = cast(LogisticHead, network.head)
    flips = FLIPS[: network.views]
    views = [[one.flip(axes) if axes else one for one in maps] for maps, axes in zip(seen, flips, strict=True)]
    logit = head(feature)
    # how much the logit rises with a feature on its whole way from the mean, cut-off and length included
    slope = (head.normalise(feature) * head.linear.weight / (feature - head.mean)).nan_to_num(0, 0, 0)
    found = torch.zeros(feature.shape[0], *side, device=feature.device)
    begin = 0
    for stage in zip(*views, strict=True):  # the same stage as each view saw it
        channels = stage[0].shape[1]
        for pool in network.pool:
            part = slice(begin, begin := begin + channels)
            shares = torch.stack([_SHARES[pool](maps, head.mean[part]) for maps in stage]).mean(0)
            cells = (slope[:, part, None, None] * shares).sum(1, keepdim=True)
            size = cells.shape[2] * cells.shape[3] / (side[0] * side[1])
            found = found + size * nn.functional.interpolate(cells, side, mode="bilinear")[:, 0]
    by_photo = logit.view(-1, network.tiles[0] * network.tiles[1])
    worst = nn.functional.one_hot(by_photo.argmax(1), by_photo.shape[1]).flatten()
    laid = join((found * worst[:, None, None])[:, None], network.tiles)[:, 0]
    return laid, by_photo.amax(1)
