"""The network of a run as one graph: pixels of decoded photos in, all outputs for the line out."""

import torch
from torch import Tensor, nn

from qc_lightning.data.decoding.decode import scaled
from qc_lightning.explanation.evidence import has_distance, has_evidence, lay_out, lay_out_distances
from qc_lightning.inference.export_metadata import EVIDENCE, FEATURES, LOGIT, NOVELTY, PROBABILITY
from qc_lightning.models.network import FLIPS, Look, Network, Pool, laid_back
from qc_lightning.models.novelty import Novelty, pixel_features
from qc_lightning.models.tiles import max_over_tiles, split


def _std(feature_map: Tensor) -> Tensor:
    spread = feature_map - feature_map.mean((2, 3), keepdim=True)
    return (spread.square().mean((2, 3)) + 1e-6).sqrt()


_POOLS: dict[str, Pool] = {
    "avg": lambda feature_map: feature_map.mean((2, 3)),
    "max": lambda feature_map: feature_map.amax((2, 3)),
    "std": _std,
}
"""The pools of `Network` for a runtime with channels-first maps, where they take half the time."""


class ExportedGraph(nn.Module):
    """Scaling, normalisation, tiles, views, backbone, head and sigmoid in one module, without branches on the input.

    The views of a photo go through the backbone as one batch, so that the graph contains the backbone once.

    Shapes: uint8 [B, 3, H, W] to the tensors that `names` lists: probability float64 [B], logit float32 [B], features
    float32 [B, F] (averaged over the tiles), novelty float32 [B], evidence float32 [B, H, W].

    Args:
        network: float [B, 3, H, W] in [0, 1] to logits [B], in eval mode.
        novelty: novelty of a photo; None if the run does not measure it.
    """

    def __init__(self, network: nn.Module, novelty: Novelty | None) -> None:
        super().__init__()
        self.network, self.novelty = network, novelty
        self.names = [PROBABILITY, LOGIT]
        if isinstance(network, Network):
            self.names.append(FEATURES)
        if novelty is not None:
            self.names.append(NOVELTY)
        if has_evidence(network):
            self.names.append(EVIDENCE)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs listed in `names`."""
        network, image = self.network, scaled(pixels)
        if not isinstance(network, Network):
            logit = network(image)
            outputs = [torch.sigmoid(logit.double()), logit]
            return (*outputs, *([] if self.novelty is None else [self.novelty(pixel_features(image))]))
        tiles, count = split(image, network.tiles), network.tiles[0] * network.tiles[1]
        flips = FLIPS[: network.views]
        maps, patch_map = network.maps(torch.cat([tiles.flip(axes) if axes else tiles for axes in flips]))
        by_view = [one.view(len(flips), -1, *one.shape[1:]).unbind() for one in maps]
        patches: list[Tensor | None] = [None] * len(flips)
        if patch_map is not None:
            patches = [*patch_map.view(len(flips), -1, *patch_map.shape[1:]).unbind()]
        looks = [
            Look(list(of_view), laid_back(patch, axes))
            for of_view, patch, axes in zip(zip(*by_view, strict=True), patches, flips, strict=True)
        ]
        features = network.join(looks, _POOLS)
        logit = max_over_tiles(network.head(features), network.tiles)
        pooled = features[:, : network.pooled_width].float().view(-1, count, network.pooled_width)
        outputs = [torch.sigmoid(logit.double()), logit, pooled.mean(1)]
        if self.novelty is not None:
            outputs.append(self.novelty(pooled))
        if EVIDENCE in self.names:
            lay = lay_out_distances if has_distance(network) else lay_out  # the map that `explain` shows
            outputs.append(lay(network, looks, features, (tiles.shape[2], tiles.shape[3]))[0])
        return tuple(outputs)
