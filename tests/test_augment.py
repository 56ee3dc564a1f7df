"""The batch transform compared with Pillow and hand-computed geometry."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from qc_lightning.config import AugmentConfig
from qc_lightning.config.presets import augmentations
from qc_lightning.data import augment as augment_module
from qc_lightning.data.augment import augment, mixup

Train = Callable[..., tuple[int, Path, str]]


def ranges(rotation: float = 0, zoom: float = 0, hflip: float = 0, vflip: float = 0, **others: float) -> AugmentConfig:
    zeros = dict.fromkeys(("shift", "brightness", "contrast", "blur", "noise", "mixup"), 0.0)
    return AugmentConfig(
        policy="ranges", rotation=rotation, zoom=zoom, hflip=hflip, vflip=vflip, **(zeros | others), probe=False
    )


@pytest.fixture
def fullest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every draw from -reach to reach returns reach."""
    monkeypatch.setattr(augment_module, "_range", lambda count, reach, _: torch.full((count,), float(reach)))


def disc(size: int = 64) -> torch.Tensor:
    """A smooth blob off centre, so that turns and mirrors show."""
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    blob = torch.exp(-((x - 44) ** 2 + (y - 24) ** 2) / 20)
    return blob.expand(1, 3, size, size)


def test_none_changes_nothing() -> None:
    images = torch.rand(4, 3, 16, 16)
    assert augment(images, ranges()) is images


def test_mirrors_are_exact() -> None:
    images = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(augment(images, ranges(hflip=1)), images.flip(-1))
    torch.testing.assert_close(augment(images, ranges(vflip=1)), images.flip(-2))
    torch.testing.assert_close(augment(images, ranges(hflip=1, vflip=1)), images.flip(-1, -2))


@pytest.mark.usefixtures("fullest")
def test_rotation_is_pillows() -> None:
    turned = augment(disc(), ranges(rotation=30))[0, 0].numpy()
    # our angle turns the sampling grid, so the picture turns the other way round
    pillow = Image.fromarray(disc()[0, 0].numpy()).rotate(30, Image.Resampling.BILINEAR)
    inside = np.hypot(*(np.indices((64, 64)) - 31.5)) < 30
    assert np.abs(turned - np.asarray(pillow))[inside].max() < 0.02


@pytest.mark.usefixtures("fullest")
def test_zoom_moves_by_the_scale() -> None:
    zoomed = augment(disc(), ranges(zoom=0.25))[0, 0]
    y, x = divmod(int(zoomed.argmax()), 64)
    assert (x, y) == (round(31.5 + 1.25 * 12.5), round(31.5 - 1.25 * 7.5))


def test_each_photo_has_its_own_draw_and_keeps_its_area() -> None:
    torch.manual_seed(0)
    images = disc().expand(32, -1, -1, -1)
    changed = augment(images, ranges(45, 0, 0.5, 0.5))
    assert len({int(image[0].argmax()) for image in changed}) > 16
    # rotation and mirroring neither shear nor scale: the blob keeps its mass and spread
    torch.testing.assert_close(changed.sum((1, 2, 3)), images.sum((1, 2, 3)), rtol=0.01, atol=0)
    radius = {round(math.hypot(*(c - 31.5 for c in divmod(int(image[0].argmax()), 64)))) for image in changed}
    assert radius <= {14, 15}


def test_draws_follow_the_seed() -> None:
    images = torch.rand(4, 3, 16, 16)
    config = ranges(15, 0.1, 0.5, 0.5)
    torch.manual_seed(3)
    first = augment(images, config)
    torch.manual_seed(3)
    assert torch.equal(augment(images, config), first)


@pytest.mark.usefixtures("fullest")
def test_shift_light_and_contrast_by_hand() -> None:
    images = torch.rand(2, 3, 20, 20) * 0.4 + 0.3
    moved = augment(images, ranges(shift=0.1))
    torch.testing.assert_close(moved[:, :, 2:16, 2:16], images[:, :, 4:18, 4:18])
    torch.testing.assert_close(augment(images, ranges(brightness=0.2)), images * 1.2)
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(augment(images, ranges(contrast=0.5)), mean + (images - mean) * 1.5)


def test_blur_is_scipys(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(2, 3, 50, 50)
    monkeypatch.setattr(torch, "rand", lambda count, generator: torch.tensor([1.0, 0.5]))
    blurred = augment(images, ranges(blur=4))  # 4% of 50 pixels: sigma 2, and 1 for the second photo
    for image, seen, sigma in zip(images, blurred, (2, 1), strict=True):
        expected = ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma), mode="mirror", radius=(0, 5, 5))
        assert np.abs(seen.numpy() - expected).max() < 2e-3


def test_noise_is_as_strong_as_it_says_at_most() -> None:
    torch.manual_seed(0)
    grey = torch.full((200, 3, 20, 20), 0.5)
    spread = (augment(grey, ranges(noise=20)) - grey).std((1, 2, 3)) * 255
    assert 0 <= spread.min() < 2
    assert 18 < spread.max() < 21
    assert spread.mean() == pytest.approx(10, rel=0.15)


def test_everything_stays_in_range() -> None:
    torch.manual_seed(0)
    changed = augment(torch.rand(8, 3, 16, 16), ranges(15, 0.1, shift=0.1, brightness=0.5, contrast=0.5, noise=60))
    assert 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize("policy", ["trivial", "randaugment"])
def test_named_policies_give_each_photo_its_own_change(policy: str) -> None:
    torch.manual_seed(1)
    images = disc(32).expand(16, -1, -1, -1)
    changed = augment(images, replace(ranges(), policy=policy))
    assert changed.shape == images.shape
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 8


def test_mixup_blends_labels_as_it_blends_photos() -> None:
    torch.manual_seed(0)
    label = torch.tensor([0.0, 1.0, 1.0, 0.0])
    photos = label.view(4, 1, 1, 1).expand(4, 3, 2, 2)
    image, mixed_label = mixup(photos, label, 5.0)
    assert ((mixed_label > 0.1) & (mixed_label < 0.9)).any(), "something is blended"
    torch.testing.assert_close(image[:, 0, 0, 0], mixed_label)
    assert mixed_label.sum() == pytest.approx(2)


def test_every_policy_of_conf_loads_as_hydra_composes_it() -> None:
    from hydra import compose, initialize_config_dir

    from qc_lightning.cli.compose import register
    from qc_lightning.config import TrainConfig, parse
    from qc_lightning.config.presets import CONF

    register()
    found = augmentations()
    assert set(found) == {"paper", "light", "trivial", "randaugment", "mixup"}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name, config in found.items():
            assert parse(compose("train", [f"augment={name}"]), TrainConfig).augment == config


def test_the_probe_shows_incorrect_photos_under_every_policy(train: Train, photo_root: Path) -> None:
    quick = ["data.image_size=24", "model.hidden=[4]", "trainer.max_epochs=1", "augment.probe=true"]
    code, run, output = train("data=folder", f"data.root={photo_root}", *quick)
    assert code == 0, output
    with Image.open(run / "figures" / "augment_probe.png") as picture:
        assert picture.width < picture.height, "eight pictures across, three photos under each of six policies down"
    assert "augment probe" in (run / "report.html").read_text().lower()
