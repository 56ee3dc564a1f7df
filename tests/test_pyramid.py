"""The second look at a photo, at half its size."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from qc_lightning.errors import UserError
from qc_lightning.models.backbones import StageBackbone
from qc_lightning.models.network import Network
from qc_lightning.models.pyramid import Pyramid
from qc_lightning.models.zoo import build_network
from test_zoo import PLAIN, built, configured, photos


def brightest_cell(scales: int) -> Network:
    """Its one feature a look: the brightest of the means of 4x4 pixels."""
    convolution = nn.Conv2d(3, 1, 4, 4, bias=False)
    nn.init.constant_(convolution.weight, 1 / 48)
    backbone = StageBackbone([nn.Sequential(convolution)], nn.Flatten(), 1, False, PLAIN)
    return Network(Pyramid(backbone) if scales == 2 else backbone, ["max"], [], 0.0, 64).eval().requires_grad_(False)


def test_the_half_size_photo_is_what_pillow_makes_of_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    half = np.asarray(Image.fromarray(pixels).reduce(2))

    def image(of: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(of.copy()).permute(2, 0, 1)[None] / 255

    small, full = brightest_cell(2).features(image(pixels))[0].tolist()
    assert full == pytest.approx(brightest_cell(1).features(image(pixels)).item(), abs=1e-6)
    # Pillow rounds to whole grey levels
    assert small == pytest.approx(brightest_cell(1).features(image(half)).item(), abs=1 / 255)
    assert small != pytest.approx(full, abs=1e-3)


@pytest.mark.parametrize(("side", "expected"), [(8, [1.0, 1.0]), (4, [0.25, 1.0])])
def test_a_small_spot_fills_a_cell_at_full_size_only(side: int, expected: list[float]) -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[..., 8 : 8 + side, 8 : 8 + side] = 1
    assert brightest_cell(2).features(image)[0].tolist() == pytest.approx(expected)


def test_both_looks_share_one_set_of_weights() -> None:
    whole = built("model=torchvision", "model.name=shufflenet_v2_x0_5", "model.mode=scratch", size=64)
    both = built("model=torchvision", "model.name=shufflenet_v2_x0_5", "model.mode=scratch", "model.scales=2", size=64)

    def of_backbone(network: Network) -> int:
        return sum(parameter.numel() for parameter in network.backbone.parameters())

    assert of_backbone(both) == of_backbone(whole)
    stages = [parameter for group in both.stage_parameters() for parameter in group]
    assert len({id(parameter) for parameter in stages}) == len(stages) == len(list(both.backbone.parameters()))
    both(photos(64)).sum().backward()
    assert all(parameter.grad is not None for parameter in stages)


@pytest.mark.parametrize(("model", "name"), [("torchvision", "vit_b_16"), ("mlp", "mlp")])
def test_a_network_without_maps_takes_one_look(model: str, name: str) -> None:
    choice = configured(f"model={model}", f"model.name={name}", "model.mode=scratch", "model.scales=2")
    with pytest.raises(UserError, match=r"model.scales: .* takes model.scales=1"):
        build_network(choice, 224)


def test_a_third_look_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.scales: expected 1 or 2, got 3"):
        configured("model=torchvision", "model.name=resnet18", "model.scales=3")
