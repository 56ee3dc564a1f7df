"""Corruptions of photos that occur on a line, each at five strengths, applied to the network's input.

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

from qc_lightning.data.augment import blurred, moved
from qc_lightning.data.decoding.decode import scaled, unscaled


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

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
    image = CORRUPTIONS[name].apply(scaled(pixels), strength, number)
    return unscaled(image)


def _blur(image: Tensor, strength: float, _: Tensor) -> Tensor:
    sigma = strength / 100 * math.sqrt(image.shape[2] * image.shape[3])
    return blurred(image, torch.full((len(image),), sigma), 3 * sigma)


def _noise(image: Tensor, strength: float, number: Tensor) -> Tensor:
    noise = [torch.randn(image.shape[1:], generator=torch.Generator().manual_seed(int(n))) for n in number]
    return image + strength / 255 * torch.stack(noise)


def _contrast(image: Tensor, strength: float, _: Tensor) -> Tensor:
    mean = image.mean((1, 2, 3), keepdim=True)
    return mean + (image - mean) * (1 - strength / 100)


def _jpeg(image: Tensor, strength: float, _: Tensor) -> Tensor:
    pixels = unscaled(image).permute(0, 2, 3, 1).numpy()
    through = []
    for photo in pixels:
        data = io.BytesIO()
        Image.fromarray(photo).save(data, "JPEG", quality=int(strength))
        with Image.open(data) as seen:
            through.append(np.asarray(seen))
    return scaled(torch.from_numpy(np.stack(through)).permute(0, 3, 1, 2))


def _moved(image: Tensor, turn: Tensor, scale: float, shift: Tensor) -> Tensor:
    """Turn by radians [B], shrink by `scale`, shift by shares of the side [B]; the edge is mirrored, never black."""
    cos, sin = torch.cos(turn) / scale, torch.sin(turn) / scale
    return moved(image, cos, -sin, 2 * shift, sin, cos, 2 * shift)


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
