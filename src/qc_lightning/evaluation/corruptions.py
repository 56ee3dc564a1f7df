"""What goes wrong with photos on a line, at five strengths each: the photo as the network gets it in, a worse one out.

Strengths are relative to the photo's side or to its value range, so that they mean the same at every size. Draws follow
from the photo's number: turning and shifting go alternately to either side, noise is seeded.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Corruption:
    """One thing that goes wrong.

    Attributes:
        strengths: five, from hardly visible to severe.
        unit: of the strengths, in words.
        apply: images float [B, 3, H, W] in [0, 1], strength, numbers of the photos int64 [B] -> images of that shape;
            may leave [0, 1], `corrupt` clips.
    """

    strengths: tuple[float, float, float, float, float]
    unit: str
    apply: Callable[[Tensor, float, Tensor], Tensor]


def corrupt(pixels: Tensor, name: str, strength: float, number: Tensor) -> Tensor:
    """Corrupt decoded photos.

    Args:
        pixels: uint8 [B, 3, H, W].
        name: one of `CORRUPTIONS`.
        strength: in the corruption's unit.
        number: int64 [B], which photo each is: its draws follow from it.

    Returns:
        uint8 [B, 3, H, W], as a camera would have given it.
    """
    image = CORRUPTIONS[name].apply(pixels.float() / 255, strength, number)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _blur(image: Tensor, strength: float, _: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    sigma = strength / 100 * math.sqrt(height * width)
    reach = min(max(1, math.ceil(3 * sigma)), min(height, width) - 1)
    x = torch.arange(-reach, reach + 1, dtype=image.dtype)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    image = F.conv2d(F.pad(image, (reach, reach, 0, 0), mode="reflect"), kernel, groups=3)
    return F.conv2d(F.pad(image, (0, 0, reach, reach), mode="reflect"), kernel.transpose(2, 3), groups=3)


def _noise(image: Tensor, strength: float, number: Tensor) -> Tensor:
    noise = [torch.randn(image.shape[1:], generator=torch.Generator().manual_seed(int(n))) for n in number]
    return image + strength / 255 * torch.stack(noise)


def _contrast(image: Tensor, strength: float, _: Tensor) -> Tensor:
    mean = image.mean((1, 2, 3), keepdim=True)
    return mean + (image - mean) * (1 - strength / 100)


def _jpeg(image: Tensor, strength: float, _: Tensor) -> Tensor:
    pixels = (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    through = []
    for photo in pixels:
        data = io.BytesIO()
        Image.fromarray(photo).save(data, "JPEG", quality=int(strength))
        with Image.open(data) as seen:
            through.append(np.asarray(seen))
    return torch.from_numpy(np.stack(through)).permute(0, 3, 1, 2).float() / 255


def _moved(image: Tensor, turn: Tensor, scale: float, shift: Tensor) -> Tensor:
    """Turn by radians [B], shrink by `scale`, shift by shares of the side [B]; the edge is mirrored, never black."""
    cos, sin = torch.cos(turn) / scale, torch.sin(turn) / scale
    aspect = image.shape[2] / image.shape[3]  # the grid is as high as it is wide, whatever the photo is
    theta = torch.stack([cos, -sin * aspect, 2 * shift, sin / aspect, cos, 2 * shift], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _side(number: Tensor) -> Tensor:
    return 1.0 - 2.0 * (number % 2)


def _rotation(image: Tensor, strength: float, number: Tensor) -> Tensor:
    return _moved(image, _side(number) * math.radians(strength), 1.0, torch.zeros(len(image)))


def _shift(image: Tensor, strength: float, number: Tensor) -> Tensor:
    return _moved(image, torch.zeros(len(image)), 1.0, _side(number) * strength / 100)


def _scale(image: Tensor, strength: float, _: Tensor) -> Tensor:
    return _moved(image, torch.zeros(len(image)), 1 - strength / 100, torch.zeros(len(image)))


CORRUPTIONS = {
    "blur": Corruption((0.2, 0.4, 0.8, 1.2, 2.0), "blur radius (sigma), % of the side", _blur),
    "noise": Corruption((4, 8, 16, 24, 40), "standard deviation, grey levels of 255", _noise),
    "darker": Corruption((10, 20, 30, 40, 60), "% less light", lambda image, s, _: image * (1 - s / 100)),
    "brighter": Corruption((10, 20, 30, 40, 60), "% more light", lambda image, s, _: image * (1 + s / 100)),
    "contrast": Corruption((10, 20, 35, 50, 70), "% less contrast", _contrast),
    "rotation": Corruption((2, 4, 8, 12, 20), "degrees, either way", _rotation),
    "shift": Corruption((1, 2, 4, 7, 10), "% of the side, along both edges", _shift),
    "scale": Corruption((2, 5, 10, 20, 30), "% smaller", _scale),
    "JPEG": Corruption((90, 70, 50, 30, 10), "quality", _jpeg),
}
