"""Backbones: photos in [0, 1] to the feature maps of a network's stages, for networks of any library.

A stage works at one resolution: it ends where the side of the maps is halved next.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from qc_lightning.models.stages import cut_parameters, feature_info, stage_ends
from qc_lightning.models.tail import Tail, patches_of

Normalisation = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation of each channel, photos in [0, 1]


class Backbone(nn.Module):
    """Common base of the backbones: normalisation, and the interface for training and explanation.

    Args:
        normalisation: of the weights' training; stored in the checkpoint.
    """

    mean: Tensor
    std: Tensor
    count: int  # number of maps that `forward` returns
    has_patches = False  # whether `with_patches` returns a patch map
    has_tail = False  # whether its last channel is the score of a tail

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        for name, values in zip(("mean", "std"), normalisation, strict=True):
            self.register_buffer(name, torch.tensor(list(values)).view(-1, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the maps [B, C_i, H_i, W_i] of the last stages, the last one at the end.

        Args:
            image: float [B, 3, S, S] in [0, 1].
        """
        raise NotImplementedError

    def with_patches(self, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Return the maps of `forward`, and a map [B, C, H / 16, W / 16] that describes small patches of the photo."""
        return self(image), None

    def represent(self, last: Tensor) -> Tensor:
        """Return the input of the network's own classifier, [B, C], from the last map."""
        raise NotImplementedError

    @property
    def cam_layers(self) -> list[nn.Module]:
        """The layer whose output Grad-CAM reads."""
        raise NotImplementedError

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """Return every parameter once, stage by stage from the last one back to the stem."""
        raise NotImplementedError

    def normalised(self, image: Tensor) -> Tensor:
        """Return (image - mean) / std."""
        return (image - self.mean) / self.std


class StageBackbone(Backbone):
    """A convolutional network as a sequence of stages.

    Args:
        stages: each takes the output of the previous one.
        neck: pooled last map [B, C, 1, 1] to the input of the network's classifier, [B, C'].
        count: how many of the last stages' maps are returned.
        channels_at_end: whether maps between the stages are [B, H, W, C], as in Swin.
        normalisation: what the weights were trained with.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        neck: nn.Module,
        count: int,
        channels_at_end: bool,
        normalisation: Normalisation,
    ) -> None:
        super().__init__(normalisation)
        self.stages = nn.ModuleList(stages)
        self.neck = neck
        self.count, self.channels_at_end = count, channels_at_end

    def forward(self, image: Tensor) -> list[Tensor]:
        """Run the stages in turn."""
        x = self.normalised(image)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        earlier = maps[len(maps) - self.count : -1]
        return [*(m.permute(0, 3, 1, 2) if self.channels_at_end else m for m in earlier), x]

    def represent(self, last: Tensor) -> Tensor:
        """Average the last map, then apply the neck."""
        vector: Tensor = self.neck(last.mean((2, 3), keepdim=True))
        return vector

    @property
    def cam_layers(self) -> list[nn.Module]:
        """The last stage; its output is the last map."""
        return [self.stages[-1]]

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """The neck belongs to the last stage."""
        groups = [list(stage.parameters()) for stage in reversed(self.stages)]
        groups[0] += self.neck.parameters()
        return [group for group in groups if group]


class TimmBackbone(Backbone):
    """A convolutional network of timm, through timm's common interface.

    Args:
        model: the network without its classifier.
        count: how many of the last stages' maps are returned.
        cam_layer: name of the module whose output is the last map.
        normalisation: what the weights were trained with.

    Attributes:
        depth: number of stages.
        tail: stages fine-tuned for the patches; None before `grow_tail`.
    """

    def __init__(self, model: nn.Module, count: int, cam_layer: str, normalisation: Normalisation) -> None:
        super().__init__(normalisation)
        self.model, self.count, self.cam_layer = model, count, cam_layer
        self.depth = wide_depth(model) or max(1, len(feature_info(model)))
        ends = {info["reduction"]: info for info in feature_info(model)}  # of stages of one size, the last one
        self.has_patches = wide_depth(model) > 0 and {8, 16} <= ends.keys()
        if self.has_patches:
            self._fine, self._coarse = (int(ends[size]["module"].rpartition(".")[2]) for size in (8, 16))
            self._patch_width = ends[8]["num_chs"] + ends[16]["num_chs"]
        self.tail: Tail | None = None

    def grow_tail(self) -> None:
        """Append the score of a `Tail` to each patch."""
        self.has_tail = True
        stages = list(cast(Any, self.model).blocks)[self._fine + 1 : self._coarse + 1]
        self.tail = Tail(stages, self._patch_width)

    def fine_map(self, image: Tensor) -> Tensor:
        """Return the input of a tail: the map [B, C, H / 8, W / 8] of photos."""
        model = cast(Any, self.model)
        x = model.bn1(model.conv_stem(self.normalised(image.contiguous(memory_format=torch.channels_last))))
        for stage in model.blocks[: self._fine + 1]:
            x = stage(x)
        return cast(Tensor, x)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the maps; the last one is the one that timm pools, after a final convolution in some networks."""
        model = cast(Any, self.model)
        x = self.normalised(image)
        if self.count == 1:
            return [model.forward_features(x)]
        if wide_depth(model):
            return wide_maps(model, x)[0][-self.count :]
        last, maps = model.forward_intermediates(x, indices=self.count)
        return [*maps[:-1], last]

    def with_patches(self, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """For an EfficientNet the patches are the outputs of its stages at an 8th and a 16th of the photo's size."""
        if not self.has_patches:
            return self(image), None
        wide, narrow = wide_maps(cast(Any, self.model), self.normalised(image))
        fine_map, coarse_map = narrow[self._fine], narrow[self._coarse]
        patches = patches_of(fine_map, coarse_map)
        if self.tail is not None:
            patches = torch.cat([patches, self.tail(fine_map)], dim=1)
        return wide[-self.count :], patches

    def represent(self, last: Tensor) -> Tensor:
        """Pool as timm does for this network, up to its classifier."""
        vector: Tensor = cast(Any, self.model).forward_head(last, pre_logits=True)
        return vector.flatten(1)

    @property
    def cam_layers(self) -> list[nn.Module]:
        """The module whose output is the last map."""
        return [self.model.get_submodule(self.cam_layer)]

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """Cut where timm's stages end; a tail belongs to the last one."""
        stages = cut_parameters(self.model, stage_ends(self.model))
        stages[0] += [] if self.tail is None else self.tail.parameters()
        return stages


def wide_depth(model: nn.Module) -> int:
    """Number of maps that `wide_maps` reads: for timm's EfficientNets and MobileNetV2 only, else 0."""
    wide = type(model).__name__ == "EfficientNet" and hasattr(model, "conv_head")
    return len(cast(Any, model).blocks) + 1 if wide else 0


def wide_maps(model: Any, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Maps of an EfficientNet's stages where they are widest, early ones first, and the last map; the stages' outputs.

    A stage ends in a projection to few channels; the input of the projection has six times as many and separated
    defects better than its output (timm's `feature_location="expansion"`).

    Args:
        model: timm's EfficientNet.
        x: float [B, 3, S, S], normalised.
    """
    x = model.bn1(model.conv_stem(x))
    maps, outputs = [], []
    for stage in model.blocks:
        *blocks, last = stage
        for block in blocks:
            x = block(x)
        names = [name for name, _ in last.named_children()]
        # the first stage has no expansion, and a block of several experts does more than call its layers in turn
        if "conv_pwl" in names and "routing_fn" not in names:
            narrow = x
            for name, layer in last.named_children():
                if name == "conv_pwl":
                    maps.append(narrow)
                narrow = layer(narrow)
            x = narrow + x if last.has_skip else narrow
        else:
            x = last(x)
            maps.append(x)
        outputs.append(x)
    return [*maps, model.bn2(model.conv_head(x))], outputs
