"""Vision transformers as backbones: tokens of the last blocks as maps in the photos' shape, or one vector."""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from qc_lightning.models.backbones import Backbone, Normalisation
from qc_lightning.models.stages import cut_parameters


class TokenBackbone(Backbone):
    """One of timm's vision transformers; a stage is a block, its map is what the block makes of each patch.

    The blocks' outputs are normalised by the network's last norm, as DINOv2's authors do where they use several
    (Oquab et al. 2023). The class token and registers are left out: an average over the patches takes their place.

    Args:
        model: the network without its classifier, its weights loaded.
        count: how many of the last blocks' maps are returned.
        shape: height and width of the photos. They are resized to the nearest multiple of the patch's side, and the
            position embedding is resampled once to as many patches.
        normalisation: what the weights were trained with.

    Attributes:
        side: height and width that the transformer sees, multiples of the patch's.
    """

    has_patches = True

    def __init__(self, model: nn.Module, count: int, shape: tuple[int, int], normalisation: Normalisation) -> None:
        super().__init__(normalisation)
        inner = cast(Any, model)
        down, across = inner.patch_embed.patch_size
        self.side = max(1, round(shape[0] / down)) * down, max(1, round(shape[1] / across)) * across
        inner.set_input_size(img_size=self.side)
        self.model, self.count = model, count

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the last blocks' tokens as maps [B, C, h, w]."""
        if tuple(image.shape[2:]) != self.side:
            image = nn.functional.interpolate(image, self.side, mode="bilinear", antialias=True)
        model, x = cast(Any, self.model), self.normalised(image)
        maps: list[Tensor] = model.forward_intermediates(x, indices=self.count, norm=True, intermediates_only=True)
        return maps

    def with_patches(self, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """The last block's tokens are the patches."""
        maps = self(image)
        return maps, maps[-1]

    def represent(self, last: Tensor) -> Tensor:
        """Average over the patches."""
        return last.mean((2, 3))

    @property
    def cam_layers(self) -> list[nn.Module]:
        """The norm that the last map comes out of; the network's own taps give the map."""
        return [cast(nn.Module, self.model.norm)]

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """One group a block."""
        blocks = cast(nn.ModuleList, self.model.blocks)
        return cut_parameters(self.model, [f"blocks.{place}" for place in range(len(blocks))])


class VectorBackbone(Backbone):
    """A network without maps: its representation becomes one map of a single pixel.

    Args:
        model: photo to representation [B, C].
        ends: names of the modules that end a stage, in order; the blocks of a transformer.
        cam_layer: name of the module that Grad-CAM reads; tokens [B, N, C], the class token first where there is one.
        normalisation: what the weights were trained with.
    """

    def __init__(self, model: nn.Module, ends: Sequence[str], cam_layer: str, normalisation: Normalisation) -> None:
        super().__init__(normalisation)
        self.model, self.ends, self.cam_layer, self.count = model, list(ends), cam_layer, 1

    def forward(self, image: Tensor) -> list[Tensor]:
        """The representation as [B, C, 1, 1]."""
        return [self.model(self.normalised(image))[:, :, None, None]]

    def represent(self, last: Tensor) -> Tensor:
        """The representation as [B, C]."""
        return last.flatten(1)

    @property
    def cam_layers(self) -> list[nn.Module]:
        """The last block's first norm in a transformer: what lies behind it reaches the output by the class token."""
        return [self.model.get_submodule(self.cam_layer)]

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """One group a block."""
        return cut_parameters(self.model, self.ends)
