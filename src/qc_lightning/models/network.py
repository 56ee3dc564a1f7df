"""The network around any backbone: normalise, feature maps, pooling, head."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qc_lightning.models.backbones import Backbone
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.perceptron import PerceptronHead, perceptron
from qc_lightning.models.tiles import Grid, Mosaic, max_over_tiles, split
from qc_lightning.models.tokens import VectorBackbone

_GPU_BLOCK, _GPU_SIDE = 32, 320  # photos of that side at a time on a GPU, fewer of larger ones
_BLOCK = 16  # photos; matrix products of this many always use the same kernels, unlike those of a single photo


def _pixels(feature_map: Tensor) -> Tensor:
    """[B, C, H, W] as [B, H * W, C]: no copy in the channels-last layout, and several times faster to reduce there."""
    return feature_map.permute(0, 2, 3, 1).flatten(1, 2)


def _std(feature_map: Tensor) -> Tensor:
    pixels = _pixels(feature_map)
    # not the mean of squares minus the squared mean: for a constant channel that leaves rounding noise of the size of
    # the mean, which depends on layout and batch and would be amplified by a standardising head
    variance = (pixels - pixels.mean(1, keepdim=True)).square().mean(1)
    # the small constant keeps the gradient of the root finite for a constant channel
    return (variance + 1e-6).sqrt()


Pool = Callable[[Tensor], Tensor]  # [B, C, H, W] to [B, C]

POOLS: dict[str, Pool] = {
    "avg": lambda feature_map: _pixels(feature_map).mean(1),
    "max": lambda feature_map: _pixels(feature_map).amax(1),
    "std": _std,
}


FLIPS: tuple[list[int], ...] = ([], [-1], [-2], [-2, -1])
"""Axes of [B, C, H, W] along which each view is mirrored."""


class Look(NamedTuple):
    """Outputs of a backbone for one view of photos.

    Attributes:
        maps: of the last stages, each [N, C, h, w], as seen.
        patch_map: [N, C, h, w], in the coordinates of the photo without mirroring; None without patches.
    """

    maps: list[Tensor]
    patch_map: Tensor | None


def laid_back(patch_map: Tensor | None, axes: list[int]) -> Tensor | None:
    """A patch map mirrored along some axes, if there is one."""
    return patch_map if patch_map is None or not axes else patch_map.flip(axes)


def _average(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(0)


class Network(nn.Module):
    """Maps a photo to one logit: backbone, pooling of its last maps, head.

    With one stage, average pooling and no hidden layers this is the published network with its classifier replaced by
    one logit (AlexNet and VGG: also without the two wide layers before the classifier).

    Shapes: float [B, 3, rows * H, columns * W] in [0, 1] to float [B], the worst tile's logit.

    Args:
        backbone: photos to feature maps.
        pool: statistics of each map, some of `avg`, `max`, `std`; `avg` of the last map is the input of the network's
            own classifier.
        hidden: widths of the head's hidden layers, each with ReLU and dropout, as in the paper; empty: linear.
        dropout: before the linear head, or after each hidden layer.
        shape: height H and width W of the photos, or of a tile of them, in pixels.
        views: number of views (the photo, its mirror image, both upside down) whose features are averaged, so that the
            direction of a defect does not matter.
        fitted: whether the head is fitted to features and standardises them.
        frozen: whether only the head is trained.
        tiles: rows and columns of tiles that the photos are cut into.
        clip: standard deviations at which a fitted head clips a feature.
        patches: whether the linear head of a frozen network (or one with a tail) also scores small patches, if the
            backbone has a map of them and the photo is not tiled.
        distance: whether that head uses the distance to Correct photos.

    Attributes:
        frozen: as given.
        pooled_width: number of pooled features, which come first.
        width: number of features; those of a frozen network with patches are in half precision.
        tiles: as given.
        recipe: everything else that the features depend on besides the backbone's weights.
        weights: name of the file that the backbone's weights came from, `none` when they are random.

    Raises:
        RuntimeError, AssertionError, ValueError: the backbone does not support photos of that size.
    """

    def __init__(
        self,
        backbone: Backbone,
        pool: Sequence[str],
        hidden: Sequence[int],
        dropout: float,
        shape: tuple[int, int],
        views: int = 1,
        fitted: bool = False,
        frozen: bool = False,
        tiles: Grid = (1, 1),
        clip: float = math.inf,
        patches: bool = False,
        distance: bool = False,
    ) -> None:
        super().__init__()
        # several times faster on a CPU, and preferred by half precision on a GPU
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.frozen, self.tiles = frozen, tiles
        stays = frozen or backbone.has_tail
        self.patches = patches and backbone.has_patches and stays and not hidden and tiles == (1, 1)
        self.taps = nn.ModuleList(Mosaic(tiles) for _ in range(backbone.count + self.patches))
        self.pool, self.views = list(pool), views
        self.weights = "none"
        self.eval()  # the dry run must not change the statistics of batch norms
        with torch.no_grad():
            maps, patch_map = self.look(torch.zeros(1, 3, *shape), [])
            width, cells = self.pooled(maps).shape[1], None
            if patch_map is not None:
                cells = (patch_map.shape[2] * patch_map.shape[3], patch_map.shape[1])
        self.train()
        self.head: nn.Module
        if fitted:
            if hidden:
                self.head = PerceptronHead(width, hidden, dropout, clip)
            else:
                # the nearest patches change as stages are trained
                self.head = FittedHead(width, clip, cells, backbone.has_tail, distance and stays)
        else:
            self.head = perceptron(width, hidden, dropout) if hidden else _linear(width, dropout)
        self.pooled_width = width
        self.width = width if cells is None else width + cells[0] * cells[1]
        self.dtype = torch.float16 if self.patches and frozen else torch.float32
        self.recipe = f"{type(backbone).__name__} {self.pool} {views} views, {self.width} features"

    def features(self, image: Tensor) -> Tensor:
        """Return [N, F] of tiles [N, 3, H, W]: for each stage, its pooled channels in the order of `pool`; patches."""
        flips = FLIPS[: self.views]
        if self.training and self.views > 1:  # one view per batch: all are used over the epochs at the cost of one
            flips = (flips[int(torch.randint(self.views, ()))],)
        return self.join([self.look(image, axes) for axes in flips])

    def look(self, image: Tensor, axes: list[int]) -> "Look":
        """Return the maps of tiles [N, 3, H, W] seen mirrored along some axes."""
        maps, patch_map = self.maps(image.flip(axes) if axes else image)
        if torch.is_grad_enabled():  # explanations hook in here for each stage's map of the complete photo
            maps = [split(tap(feature_map), self.tiles) for tap, feature_map in zip(self.taps, maps, strict=False)]
            patch_map = None if patch_map is None else self.taps[-1](patch_map)
        return Look(maps, laid_back(patch_map, axes))

    def maps(self, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Return the backbone's maps of tiles [N, 3, H, W], and the map of their patches where the head takes it."""
        image = image.contiguous(memory_format=torch.channels_last)
        return self.backbone.with_patches(image) if self.patches else (self.backbone(image), None)

    def join(self, views: Sequence["Look"], pools: Mapping[str, Pool] = POOLS) -> Tensor:
        """Return the features [N, F], averaged over the views; `pools` as for `pooled`."""
        parts = [_average([self.pooled(view.maps, pools) for view in views])]
        patch_maps = [view.patch_map for view in views if view.patch_map is not None]
        if patch_maps:
            parts.append(_pixels(_average(patch_maps)).flatten(1))
        # half precision keeps patches small on disk; used for all features, in training and afterwards
        return torch.cat(parts, dim=1).to(self.dtype)

    def pooled(self, maps: Sequence[Tensor], pools: Mapping[str, Pool] = POOLS) -> Tensor:
        """Return [N, F] of the maps of one view: each stage's pooled channels in the order of `pool`.

        Args:
            maps: of the stages, the last one at the end.
            pools: implementations of the pools; results are equal up to rounding.
        """
        *earlier, last = maps
        vectors = [pools[name](feature_map) for feature_map in earlier for name in self.pool]
        vectors += [self.backbone.represent(last) if name == "avg" else pools[name](last) for name in self.pool]
        return torch.cat(vectors, dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logit of P(Incorrect) for each photo."""
        return self.classify(self.tile_features(image))

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, tiles, F], as `tile_features` gives them."""
        return max_over_tiles(self.head(features.flatten(0, 1)), self.tiles)

    def tile_features(self, image: Tensor) -> Tensor:
        """Return features [B, tiles, F] of photos; without gradients tile by tile, which takes the least memory."""
        tiles, count = split(image, self.tiles), self.tiles[0] * self.tiles[1]
        if torch.is_grad_enabled():
            return self.features(tiles).view(-1, count, self.width)
        return torch.stack([self.features(tiles[place::count]) for place in range(count)], dim=1)

    @property
    def cam_layers(self) -> list[nn.Module]:
        """The layers that explanations read, one per stage: maps [B, C, H, W], or tokens [B, N, C] of a transformer.

        Their outputs go only into the pooling, so that the stages' contributions to a logit add up. For tiled photos
        the output is one map with the tiles' maps in place.
        """
        tokens = isinstance(self.backbone, VectorBackbone) and self.tiles == (1, 1)
        return self.backbone.cam_layers if tokens else list(self.taps)

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """Return the backbone's parameters, each once, from the last stage back to the stem."""
        return self.backbone.stage_parameters()


def _linear(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))


def block_of(network: nn.Module) -> int:
    """Number of photos that a network processes at a time on a CPU.

    The last bits of a matrix product depend on the batch size. A network with maps takes one photo at a time, which is
    not slower there and is how the training of a frozen network computes features.
    """
    return 1 if isinstance(network, Network) else _BLOCK


def gpu_block(height: int, width: int) -> int:
    """Number of photos of that size that a network processes at a time on a GPU; fewer are filled up with zeros.

    cuDNN prepares a network again for each number of photos, and in each thread: EfficientNet-Lite0 took 5 seconds on
    an H100, as long as 4,000 photos afterwards.

    >>> gpu_block(300, 300), gpu_block(640, 1280)
    (32, 4)
    """
    return max(1, int(_GPU_BLOCK * min(1.0, _GPU_SIDE**2 / (height * width))))
