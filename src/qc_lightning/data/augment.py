"""Random geometry for training photos: a whole batch at once, on its device, each photo with its own draw."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from qc_lightning.config import AugmentConfig


def augment(images: Tensor, config: AugmentConfig) -> Tensor:
    """Rotate, zoom and mirror each photo by its own random draw, in one resampling.

    Corners that turn in from outside are filled by reflection, so no black wedge gives a turned photo away. The draws
    come from torch's CPU generator, so they are the same whatever the device.

    Args:
        images: float [B, C, H, W], H = W, any value range.
        config: the ranges.

    Returns:
        float [B, C, H, W], bilinear.
    """
    theta = _affine(len(images), config)
    if theta is None:
        return images
    grid = F.affine_grid(theta.to(images.device, images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _affine(count: int, config: AugmentConfig) -> Tensor | None:
    """Maps from output to input coordinates, float [count, 2, 3]; None when nothing would change."""
    if not (config.rotation or config.zoom or config.hflip or config.vflip):
        return None
    turn, scale, hflip, vflip = torch.rand(4, count)
    angle = (2 * turn - 1) * math.radians(config.rotation)
    scale = 1 / (1 + (2 * scale - 1) * config.zoom)
    mirror_x = 1 - 2 * (hflip < config.hflip).float()
    mirror_y = 1 - 2 * (vflip < config.vflip).float()
    cos, sin, zero = torch.cos(angle) * scale, torch.sin(angle) * scale, torch.zeros(count)
    return torch.stack([cos * mirror_x, -sin * mirror_y, zero, sin * mirror_x, cos * mirror_y, zero], dim=1).view(
        count, 2, 3
    )
