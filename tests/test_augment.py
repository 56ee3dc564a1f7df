"""The batch transform against Pillow and geometry by hand."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from qc_lightning.config import AugmentConfig
from qc_lightning.data.augment import augment


def disc(size: int = 64) -> torch.Tensor:
    """A smooth blob off centre, so that turns and mirrors show."""
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    blob = torch.exp(-((x - 44) ** 2 + (y - 24) ** 2) / 20)
    return blob.expand(1, 3, size, size)


def test_none_changes_nothing() -> None:
    images = torch.rand(4, 3, 16, 16)
    assert augment(images, AugmentConfig(0, 0, 0, 0)) is images


def test_mirrors_are_exact() -> None:
    images = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(augment(images, AugmentConfig(0, 0, 1, 0)), images.flip(-1))
    torch.testing.assert_close(augment(images, AugmentConfig(0, 0, 0, 1)), images.flip(-2))
    torch.testing.assert_close(augment(images, AugmentConfig(0, 0, 1, 1)), images.flip(-1, -2))


def test_rotation_is_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.full((4, 1), 0.5)
    draws[0] = 1.0  # the full angle
    monkeypatch.setattr(torch, "rand", lambda *_: draws)
    turned = augment(disc(), AugmentConfig(30, 0, 0, 0))[0, 0].numpy()
    # our angle turns the sampling grid, so the picture turns the other way round
    pillow = Image.fromarray(disc()[0, 0].numpy()).rotate(30, Image.Resampling.BILINEAR)
    inside = np.hypot(*(np.indices((64, 64)) - 31.5)) < 30
    assert np.abs(turned - np.asarray(pillow))[inside].max() < 0.02


def test_zoom_moves_by_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.full((4, 1), 0.5)
    draws[1] = 1.0  # the full zoom
    monkeypatch.setattr(torch, "rand", lambda *_: draws)
    zoomed = augment(disc(), AugmentConfig(0, 0.25, 0, 0))[0, 0]
    y, x = divmod(int(zoomed.argmax()), 64)
    assert (x, y) == (round(31.5 + 1.25 * 12.5), round(31.5 - 1.25 * 7.5))


def test_each_photo_has_its_own_draw_and_keeps_its_area() -> None:
    torch.manual_seed(0)
    images = disc().expand(32, -1, -1, -1)
    changed = augment(images, AugmentConfig(45, 0, 0.5, 0.5))
    assert len({int(image[0].argmax()) for image in changed}) > 16
    # rotation and mirrors neither shear nor scale: the blob's mass and spread stay
    torch.testing.assert_close(changed.sum((1, 2, 3)), images.sum((1, 2, 3)), rtol=0.01, atol=0)
    radius = {round(math.hypot(*(c - 31.5 for c in divmod(int(image[0].argmax()), 64)))) for image in changed}
    assert radius <= {14, 15}


def test_draws_follow_the_seed() -> None:
    images = torch.rand(4, 3, 16, 16)
    config = AugmentConfig(15, 0.1, 0.5, 0.5)
    torch.manual_seed(3)
    first = augment(images, config)
    torch.manual_seed(3)
    assert torch.equal(augment(images, config), first)
