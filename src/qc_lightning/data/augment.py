"""Augment training photos: a complete batch at once on its device, each photo with its own random draw."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from qc_lightning.config import AugmentConfig


def augment(images: Tensor, config: AugmentConfig, generator: Generator | None = None) -> Tensor:
    """Augment each photo by its own random draw: geometry in one resampling, then light, sharpness and noise.

    Places outside the photo are filled by reflection: a black wedge would reveal a rotated photo. Random numbers are
    drawn on the CPU, so they are the same on every device.

    Args:
        images: float [B, 3, H, W] in [0, 1].
        config: the ranges, or the name of one of torchvision's policies.
        generator: of the random numbers; None: torch's own, which the named policies always use.

    Returns:
        float [B, 3, H, W] in [0, 1]; the same tensor when nothing is to change.
    """
    if config.policy != "ranges":
        return _policy(images, config.policy)
    changed = _moved(images, config, generator)
    changed = _lit(changed, config, generator)
    changed = _blurred(changed, config.blur, generator)
    if config.noise:
        spread = torch.rand(len(images), 1, 1, 1, generator=generator) * config.noise / 255
        changed = changed + (spread * torch.randn(images.shape, generator=generator)).to(images)
    return changed if changed is images else changed.clamp(0, 1)


def mixup(images: Tensor, label: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each photo and its label with another of the batch (mixup, Zhang et al. 2018), one Beta(alpha, alpha) draw.

    Args:
        images: float [B, 3, H, W].
        label: float [B].
        alpha: above 0; small values blend little.
    """
    weight = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(images)).to(images.device)
    return torch.lerp(images[other], images, weight), torch.lerp(label[other], label, weight)


def _policy(images: Tensor, name: str) -> Tensor:
    """TrivialAugment (Mueller & Hutter 2021) or RandAugment (Cubuk et al. 2020), by torchvision, photo by photo."""
    from torchvision.transforms import v2

    policy = v2.TrivialAugmentWide() if name == "trivial" else v2.RandAugment()
    return torch.stack([policy(image) for image in images])


def _range(count: int, reach: float, generator: Generator | None) -> Tensor:
    """Draws from -reach..reach, float [count]."""
    return (2 * torch.rand(count, generator=generator) - 1) * reach


def _moved(images: Tensor, config: AugmentConfig, generator: Generator | None) -> Tensor:
    """Rotate, zoom, shift and mirror."""
    if not (config.rotation or config.zoom or config.shift or config.hflip or config.vflip):
        return images
    count = len(images)
    angle = _range(count, math.radians(config.rotation), generator)
    scale = 1 / (1 + _range(count, config.zoom, generator))
    x, y = (2 * _range(count, config.shift, generator) for _ in range(2))  # the grid is 2 wide
    mirror_x = 1 - 2 * (torch.rand(count, generator=generator) < config.hflip).float()
    mirror_y = 1 - 2 * (torch.rand(count, generator=generator) < config.vflip).float()
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    return moved(images, cos * mirror_x, -sin * mirror_y, x, sin * mirror_x, cos * mirror_y, y)


def moved(images: Tensor, xx: Tensor, xy: Tensor, x: Tensor, yx: Tensor, yy: Tensor, y: Tensor) -> Tensor:
    """Resample each photo by its own affine map; places outside the photo are filled by reflection.

    The new pixel at column c and row r is taken from column xx * c + xy * r + x and row yx * c + yy * r + y, with c and
    r from -1 to 1 over width and height. The map is that of a square photo and adapted to the aspect of this one, so
    that a rotation remains a rotation.

    Args:
        images: float [B, 3, H, W].
        xx: of the map, float [B], like all others.
        xy: of the map.
        x: shift to the right, in half widths.
        yx: of the map.
        yy: of the map.
        y: shift downwards, in half heights.
    """
    aspect = images.shape[2] / images.shape[3]  # the grid is square for any shape of photo
    theta = torch.stack([xx, xy * aspect, x, yx / aspect, yy, y], dim=1).view(len(images), 2, 3).to(images)
    grid = _grid(theta, *images.shape[2:])
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _grid(theta: Tensor, height: int, width: int) -> Tensor:
    """Torch's affine_grid without aligned corners, as a sum of one term per row and one per column.

    Added as complex numbers, whose parts are the two coordinates: one pass over memory, a tenth of affine_grid's time.
    """
    x, y = ((2 * torch.arange(side, device=theta.device) + 1) / side - 1 for side in (width, height))
    across = torch.view_as_complex(x[:, None] * theta[:, None, :, 0])
    down = torch.view_as_complex(y[:, None] * theta[:, None, :, 1] + theta[:, None, :, 2])
    return torch.view_as_real(across[:, None] + down[:, :, None])


def _lit(images: Tensor, config: AugmentConfig, generator: Generator | None) -> Tensor:
    """Change brightness and contrast."""
    if not (config.brightness or config.contrast):
        return images
    light, contrast = (
        (1 + _range(len(images), reach, generator)).view(-1, 1, 1, 1).to(images)
        for reach in (config.brightness, config.contrast)
    )
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * contrast) * light


def _blurred(images: Tensor, most: float, generator: Generator | None) -> Tensor:
    """Blur each photo by its own Gaussian, with a sigma of up to `most` percent of the side."""
    if not most:
        return images
    side = math.sqrt(images.shape[2] * images.shape[3])
    sigma = torch.rand(len(images), generator=generator) * most / 100 * side + 1e-3
    return blurred(images, sigma, 2.5 * most / 100 * side)


def blurred(images: Tensor, sigma: Tensor, reach: float) -> Tensor:
    """Blur each photo by its own Gaussian; the edge is mirrored.

    Args:
        images: float [B, C, H, W].
        sigma: float [B], standard deviations in pixels, above 0.
        reach: half width of the kernel in pixels.
    """
    count, channels, height, width = images.shape
    reach = min(max(1, math.ceil(reach)), min(height, width) - 1)
    x = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-(x**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0).to(images)
    flat = images.reshape(1, count * channels, height, width)
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="reflect"), kernel[:, None, None, :], groups=len(kernel))
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="reflect"), kernel[:, None, :, None], groups=len(kernel))
    return flat.view(count, channels, height, width)
