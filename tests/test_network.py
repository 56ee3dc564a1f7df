"""A network's use of its backbone's maps: views, pooling, head, stages, layers for heat maps."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from networks import PLAIN, photos, scratch
from qc_lightning.models.backbones import StageBackbone
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from settings import model_settings


def test_training_looks_at_one_view_a_batch_and_judging_at_all() -> None:
    backbone = StageBackbone([nn.Conv2d(3, 4, 3)], nn.Flatten(), 1, False, PLAIN)
    network = Network(backbone, ["max"], [], 0.0, (8, 8), views=2)
    with torch.no_grad():
        here, mirrored = (network.pooled(backbone(image)) for image in (photos(8), photos(8).flip(-1)))
        torch.testing.assert_close(network.eval().features(photos(8)), (here + mirrored) / 2)
        torch.manual_seed(0)
        drawn = [network.train().features(photos(8)) for _ in range(20)]
    of_view = [[torch.allclose(one, view, atol=1e-6) for view in (here, mirrored)] for one in drawn]
    assert {tuple(one) for one in of_view} == {(True, False), (False, True)}


def test_pooling_is_that_of_numpy() -> None:
    backbone = StageBackbone([nn.AvgPool2d(2), nn.Identity()], nn.Flatten(), 2, False, PLAIN)
    network = Network(backbone, ["avg", "max", "std"], [], 0.0, (8, 8))
    image = photos(8)
    pixels = image.numpy().reshape(2, 3, 4, 2, 4, 2).mean((3, 5)).reshape(2, 3, 16)
    one = np.concatenate([pixels.mean(2), pixels.max(2), np.sqrt(pixels.var(2) + 1e-6)], axis=1)
    np.testing.assert_allclose(network.features(image).numpy(), np.concatenate([one, one], axis=1), rtol=1e-5)


def test_std_pooling_has_a_gradient_where_a_map_is_constant() -> None:
    network = Network(StageBackbone([nn.Identity()], nn.Flatten(), 1, False, PLAIN), ["std"], [], 0.0, (8, 8))
    image = torch.full((2, 3, 8, 8), 0.5, requires_grad=True)
    network(image).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_head_is_the_papers() -> None:
    network = scratch("torchvision", "shufflenet_v2_x0_5", "model.hidden=[128,64]", "model.dropout=0.5", size=64)
    layers: Any = network.head
    assert [type(layer).__name__ for layer in layers] == [
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [128, 64, 1]
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {0.5}


def test_stage_parameters_go_from_the_last_stage_to_the_stem() -> None:
    model: Any = scratch("torchvision", "resnet18", size=64)
    stages = model.stage_parameters()
    # by hand: layer4, layer3, layer2 have a shortcut convolution each, the stem has a convolution and a norm
    assert [len(stage) for stage in stages] == [15, 15, 15, 12, 3]
    assert [tuple(stage[0].shape) for stage in stages] == [
        (512, 256, 3, 3), (256, 128, 3, 3), (128, 64, 3, 3), (64, 64, 3, 3), (64, 3, 7, 7)
    ]  # fmt: skip


def test_stage_parameters_of_timm_are_cut_where_its_stages_end() -> None:
    pytest.importorskip("timm")
    network = scratch("timm", "tf_efficientnet_lite0")
    names = {id(p): ".".join(n.split(".")[2:4]) for n, p in network.named_parameters() if n.startswith("backbone.")}
    dealt = [{names[id(parameter)] for parameter in stage} for stage in network.stage_parameters()]
    # by hand: the sides are 112, 56, 28, 14, 14, 7, 7 after the seven groups of blocks
    assert dealt == [
        {"blocks.5", "blocks.6", "conv_head.weight", "bn2.weight", "bn2.bias"},
        {"blocks.3", "blocks.4"},
        {"blocks.2"},
        {"blocks.1"},
        {"conv_stem.weight", "bn1.weight", "bn1.bias", "blocks.0"},
    ]


@pytest.mark.parametrize(
    ("library", "name", "groups"),
    [
        pytest.param("torchvision", "alexnet", 3, marks=pytest.mark.slow),
        ("torchvision", "mobilenet_v3_small", 5),
        ("timm", "tf_efficientnet_lite0", 5),
        ("timm", "vit_tiny_patch16_224", 12),
    ],
)
def test_every_parameter_is_in_one_stage(library: str, name: str, groups: int) -> None:
    pytest.importorskip(library)
    network = scratch(library, name)
    dealt = [id(parameter) for stage in network.stage_parameters() for parameter in stage]
    assert len(network.stage_parameters()) == groups
    assert sorted(dealt) == sorted(id(parameter) for parameter in network.backbone.parameters())
    stem = next(iter(network.backbone.parameters()))
    assert any(stem is parameter for parameter in network.stage_parameters()[-1])


@pytest.mark.parametrize(
    ("library", "name"),
    [("torchvision", "efficientnet_b0"), ("timm", "tf_efficientnet_lite0"), ("timm", "convnext_atto")],
)
def test_cam_layer_gives_the_last_map(library: str, name: str) -> None:
    pytest.importorskip(library)
    network = copy.deepcopy(scratch(library, name, size=96))  # as an average of weights is kept
    (layer,) = network.cam_layers
    seen: list[Tensor] = []
    layer.register_forward_hook(lambda module, inputs, out: seen.append(out))
    network(photos(96))
    torch.testing.assert_close(seen[0], network.backbone(photos(96))[-1])
    assert seen[0].shape[2:] == (3, 3)


def test_cam_layer_of_a_transformer_gives_tokens() -> None:
    pytest.importorskip("timm")
    network = scratch("timm", "vit_tiny_patch16_224")
    (layer,) = network.cam_layers
    seen: list[Tensor] = []
    layer.register_forward_hook(lambda module, inputs, out: seen.append(out))
    network(photos()).sum().backward()
    assert seen[0].shape == (2, 1 + 14 * 14, 192)


@pytest.mark.parametrize("views", [2, 4])
def test_views_do_not_care_which_way_the_photo_is_flipped(views: int) -> None:
    torch.manual_seed(0)
    backbone = StageBackbone([nn.Conv2d(3, 4, 5), nn.ReLU()], nn.Flatten(), 1, False, PLAIN)
    network = Network(backbone, ["avg", "max"], [], 0.0, (64, 64), views).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(photos(64)), network(photos(64).flip(-1)), rtol=1e-4, atol=1e-5)
        same_upside_down = torch.allclose(network(photos(64)), network(photos(64).flip(-2)), rtol=1e-4, atol=1e-5)
    assert same_upside_down == (views == 4)


def test_the_dry_run_moves_no_statistics() -> None:
    network = scratch("torchvision", "shufflenet_v2_x0_5", size=64)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == 0 and not norm.running_mean.any() for norm in norms)  # type: ignore[union-attr]
    choice = model_settings("model=torchvision", "model.name=shufflenet_v2_x0_5", "model.mode=scratch")
    assert build_network(choice, (64, 64)).training


def test_views_of_the_config_reach_the_network() -> None:
    assert scratch("torchvision", "shufflenet_v2_x0_5", "model.views=4", size=64).views == 4
