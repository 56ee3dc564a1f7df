"""Copies of two stages of a pretrained network, fine-tuned for small patches of the photo."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def patches_of(fine_map: Tensor, coarse_map: Tensor) -> Tensor:
    """Describe each patch of 16 x 16 pixels.

    Args:
        fine_map: map [N, C, h, w] at an 8th of the photo's size.
        coarse_map: map [N, C', ceil(h / 2), ceil(w / 2)] at a 16th.

    Returns:
        float [N, C + C', ceil(h / 2), ceil(w / 2)].
    """
    odd = fine_map.shape[2] % 2, fine_map.shape[3] % 2
    fine_map = nn.functional.avg_pool2d(nn.functional.pad(fine_map, (0, odd[1], 0, odd[0]), mode="replicate"), 2)
    smooth = nn.functional.avg_pool2d(coarse_map, 3, stride=1, padding=1, count_include_pad=False)
    return torch.cat([fine_map, smooth], dim=1)


class Tail(nn.Module):
    """Copies of the stages from an 8th to a 16th of the photo's size, and one linear unit on the patches they make.

    Shapes: float [N, C, h, w], the map at an 8th, to the patches' scores [N, 1, ceil(h / 2), ceil(w / 2)].

    Args:
        stages: the pretrained stages, in eval mode with folded batch norms; they are copied.
        width: number of features of a patch.
    """

    def __init__(self, stages: Sequence[nn.Module], width: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(*copy.deepcopy(list(stages)))
        self.unit = nn.Conv2d(width, 1, 1)

    def forward(self, fine_map: Tensor) -> Tensor:
        """Return the patches' scores."""
        scores: Tensor = self.unit(patches_of(fine_map, self.stages(fine_map)))
        return scores

    def begin(self, weight: Tensor, bias: Tensor) -> None:
        """Initialise with a linear unit on patches of the pretrained stages.

        Args:
            weight: [width], for patches from `patches_of`.
            bias: [].
        """
        with torch.no_grad():
            self.unit.weight.copy_(weight.view_as(self.unit.weight))
            self.unit.bias.copy_(bias.view(1))  # type: ignore[union-attr]

    def learn(self) -> None:
        """Make all weights trainable except the depthwise kernels, which are few and would take a third of the time."""
        self.requires_grad_(True)
        for module in self.stages.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.weight.requires_grad_(False)
