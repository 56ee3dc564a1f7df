"""The networks compared with their libraries' originals, and the limits of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks import built, photos, scratch, stir
from qc_lightning.config.presets import CONF
from qc_lightning.core.errors import UserError
from qc_lightning.models import registry as zoo
from qc_lightning.models.mlp import MLP
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from settings import model_settings


def standardised(image: Tensor) -> Tensor:
    """As torchvision does for its ImageNet weights."""
    from torchvision.transforms.functional import normalize

    return normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0", "mobilenet_v3_small"])
def test_reads_what_torchvisions_own_classifier_reads(name: str, tmp_path: Path) -> None:
    from torchvision.models import get_model

    torch.manual_seed(0)
    reference = get_model(name, weights=None).eval()
    stir(reference)
    file = tmp_path / "weights.pth"
    torch.save(reference.state_dict(), file)
    network = built("model=torchvision", f"model.name={name}", f"model.weights={file}")
    classifier = [module for module in reference.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        expected = reference(standardised(photos(128)))
        torch.testing.assert_close(classifier(network.features(photos(128))), expected, rtol=1e-4, atol=1e-5)
    assert network.weights == "weights.pth"


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("resnet18", ["relu", "layer1", "layer2", "layer3", "layer4"]),
        ("mobilenet_v2", ["features.3", "features.6", "features.13", "features.18"]),
        pytest.param("densenet121", [*(f"features.denseblock{n}" for n in (1, 2, 3)), "relu"], marks=pytest.mark.slow),
        pytest.param("swin_t", ["features.1", "features.3", "features.5", "permute"], marks=pytest.mark.slow),
    ],
)
def test_stages_end_where_the_maps_are_halved(name: str, nodes: Sequence[str]) -> None:
    """The nodes are named by hand; torchvision's own tool reads them."""
    from torchvision.models import get_model
    from torchvision.models.feature_extraction import create_feature_extractor

    network = scratch("torchvision", name, f"model.stages={len(nodes)}")
    torch.manual_seed(0)
    layout = torch.channels_last  # both sides in one layout: kernels of another round differently
    extractor = create_feature_extractor(get_model(name, weights=None).eval().to(memory_format=layout), list(nodes))
    with torch.no_grad():
        maps = network.backbone(photos(128).to(memory_format=layout))
        expected = list(extractor(standardised(photos(128)).to(memory_format=layout)).values())
    if name == "swin_t":
        expected[:3] = [feature_map.permute(0, 3, 1, 2) for feature_map in expected[:3]]
    assert len(maps) == len(expected)
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_inception_sees_what_transform_input_makes() -> None:
    from torchvision.models import get_model

    network = scratch("torchvision", "inception_v3", size=96)
    torch.manual_seed(0)
    reference: Any = get_model("inception_v3", weights=None, aux_logits=False, init_weights=True, transform_input=True)
    reference.fc = nn.Identity()
    with torch.no_grad():
        expected = reference.eval()(standardised(photos(96)))
        # its random weights give large numbers
        atol = 1e-5 * float(expected.max())
        torch.testing.assert_close(network.features(photos(96)), expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224", "lcnet_050"]
)
def test_features_are_those_of_timms_network(name: str) -> None:
    timm = pytest.importorskip("timm")
    network = scratch("timm", name)
    torch.manual_seed(0)
    reference = timm.create_model(name).eval()
    reference.reset_classifier(0)
    mean, std = (torch.tensor(reference.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = reference((photos() - mean) / std)
        # float32 noise of features of about 1; how much depends on the processor's kernels
        torch.testing.assert_close(network.features(photos()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "depth"), [("tf_efficientnet_lite0", 8), pytest.param("tf_efficientnetv2_b0", 7, marks=pytest.mark.slow)]
)
def test_efficientnet_maps_are_timms_expansions(name: str, depth: int) -> None:
    timm = pytest.importorskip("timm")
    network = scratch("timm", name, f"model.stages={depth}")
    reference = timm.create_model(name, features_only=True, feature_location="expansion").eval()
    stir(reference)
    network.backbone.model.load_state_dict(reference.state_dict(), strict=False)  # type: ignore[union-attr]
    mean, std = network.backbone.mean, network.backbone.std
    layout = torch.channels_last  # both sides in one layout: kernels of another round differently
    reference.to(memory_format=layout)
    with torch.no_grad():
        maps = network.backbone(photos().to(memory_format=layout))
        expected = reference(((photos() - mean) / std).to(memory_format=layout))
    assert len(maps) == depth
    for theirs in expected[1:]:  # its first is that of a stage without an expansion
        nearest = min((ours - theirs).abs().max().item() for ours in maps if ours.shape == theirs.shape)
        assert nearest < 1e-5


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_pretrained_efficientnet_computes_the_same_with_its_norms_folded(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("tf_efficientnet_lite0")
    stir(model)
    file = tmp_path / "weights.pth"
    torch.save(model.state_dict(), file)
    settings = ("model=efficientnet_lite0", "model.stages=5", "model.pool=[avg,max]", f"model.weights={file}")
    folded = built(*settings, f"model.mode={mode}", size=96)
    monkeypatch.setattr(zoo, "fold_batch_norms", lambda module: None)
    whole = built(*settings, f"model.mode={mode}", size=96)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in whole.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded.features(photos(96)), whole.features(photos(96)), rtol=1e-4, atol=1e-4)


def test_maps_of_a_transformer_are_timms_layers_at_the_photos_shape() -> None:
    timm = pytest.importorskip("timm")
    shape = (90, 200)  # of patches of 16 pixels 6 x 12, the nearest to 5.6 x 12.5
    choice = model_settings("model=timm", "model.name=vit_tiny_patch16_224", "model.mode=scratch", "model.stages=3")
    torch.manual_seed(0)
    network = build_network(choice, shape).eval()
    assert isinstance(network, Network)
    reference = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True).eval()
    state = network.backbone.model.state_dict()  # type: ignore[union-attr]
    reference.load_state_dict({key: value for key, value in state.items() if key != "pos_embed"}, strict=False)
    torch.manual_seed(0)
    original = timm.create_model("vit_tiny_patch16_224").pos_embed  # timm resamples it itself, photo by photo
    reference.pos_embed = original
    photo = torch.rand(2, 3, 96, 192, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = network.backbone(photo)
        normal = (photo - network.backbone.mean) / network.backbone.std
        expected = reference.get_intermediate_layers(normal, n=3, reshape=True, norm=True)
        for one, other in zip(maps, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert maps[-1].shape == (2, 192, 6, 12)
        assert network(torch.rand(1, 3, *shape)).shape == (1,)


@pytest.mark.parametrize("file", sorted((CONF / "model").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_model_builds(file: Path) -> None:
    choice = model_settings(f"model={file.stem}", "model.mode=scratch", "model.weights=none", *(
        [f"model.name={'resnet18' if file.stem == 'torchvision' else 'lcnet_050'}"]
        if file.stem in ("torchvision", "timm") else []
    ))  # fmt: skip
    pytest.importorskip(choice.library if choice.library != "own" else "torch")
    network = build_network(choice, (choice.input_size, choice.input_size)).eval()
    assert isinstance(network, MLP if choice.library == "own" else Network)
    with torch.no_grad():
        logit = network(photos(choice.input_size))
    assert logit.shape == (2,)
    assert torch.isfinite(logit).all()


TV = "model=torchvision model.mode=scratch model.name="
TIMM = "model=timm model.mode=scratch model.name="


@pytest.mark.parametrize(
    ("overrides", "size", "line"),
    [
        (f"{TV}resnet81", 224, "torchvision has no network 'resnet81' (did you mean resnet18"),
        (f"{TIMM}efficientnet_lit0", 224, "did you mean efficientnet_lite0"),
        (f"{TIMM}resnet18.a1_in2k", 224, "did you mean resnet18.a1_in1k"),
        ("model=mlp model.name=mpl", 64, "model.name: expected mlp"),
        ("model=mlp model.mode=finetune model.weights=auto", 64, "model=mlp has no published weights"),
        (f"{TV}resnet18 model.weights=a.pth", 64, "model.weights=a.pth is a file"),
        (f"{TV}squeezenet1_1 model.stages=5", 64, "expected at most 4, the stages of squeezenet1_1, got 5"),
        (f"{TIMM}lcnet_050 model.stages=6", 64, "expected at most 5, the stages of lcnet_050, got 6"),
        (f"{TIMM}mixer_s32_224 model.stages=2", 224, "mixer_s32_224 has no feature maps"),
        (f"{TIMM}mixer_s32_224 model.pool=[max]", 224, "mixer_s32_224 has no feature maps"),
        (f"{TIMM}vit_tiny_patch16_224 model.stages=13", 224, "expected at most 12, the stages of vit_tiny_patch16_224"),
        (f"{TIMM}vit_tiny_patch16_224", 256, "data.image_size: vit_tiny_patch16_224 cannot take photos of 256 px"),
        (f"{TV}squeezenet1_1", 12, "data.image_size: squeezenet1_1 cannot take photos of 12 px"),
        pytest.param(f"{TV}inception_v3", 64, "cannot take photos of 64 px", marks=pytest.mark.slow),
    ],
)
def test_what_a_network_cannot_do(overrides: str, size: int, line: str) -> None:
    if "timm" in overrides:
        pytest.importorskip("timm")
    with pytest.raises(UserError) as error:
        build_network(model_settings(*overrides.split()), (size, size))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_pretrained_modes_need_weights(mode: str) -> None:
    with pytest.raises(UserError, match=f"expected auto or a file with model.mode={mode}"):
        model_settings("model=resnet18", f"model.mode={mode}", "model.weights=none")


def test_without_timm_the_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install timm"):
        build_network(model_settings("model=efficientnet_lite0"), (224, 224))
    with pytest.raises(UserError, match="pip install timm"):
        build_network(model_settings("model=timm", "model.name=resnet18"), (224, 224))


# one of each family: its members share the code that is tested here, and all of them would take half an hour
FAMILIES = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "mnasnet0_5",
    "mobilenet_v2",
    "regnet_y_400mf",
    "resnet34",
    "shufflenet_v2_x0_5",
    "swin_t",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_those_of_every_torchvision_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One logit from each, and the vector that its own last layer reads wherever that is one vector."""
    from torchvision.models import get_model

    # truncated normals take most of the time of a random initialisation
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda weight, **_: nn.init.normal_(weight, std=0.02))
    size = 224 if name.startswith(("vit", "maxvit")) else 96
    network = scratch("torchvision", name, size=size)
    arguments: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        arguments = {"aux_logits": False, "init_weights": True, "transform_input": True}
    torch.manual_seed(0)
    reference = get_model(name, weights=None, **arguments).eval()
    image = photos(size)
    # efficientnet_v2_l was trained with 0.5 for mean and deviation
    normalised = (image - 0.5) / 0.5 if name == "efficientnet_v2_l" else standardised(image)
    read: list[Tensor] = []
    for layer in [module for module in reference.modules() if isinstance(module, nn.Linear)][-1:]:
        layer.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    with torch.no_grad():
        assert network(image).shape == (2,)
        reference(normalised)
        if name.startswith(("alexnet", "vgg", "squeezenet")):
            assert network.width in (256, 512)
        else:
            atol = 1e-5 * float(read[0].abs().max())
            torch.testing.assert_close(network.features(image), read[0], rtol=1e-3, atol=atol)
    dealt = [id(parameter) for stage in network.stage_parameters() for parameter in stage]
    assert sorted(dealt) == sorted(id(parameter) for parameter in network.backbone.parameters())
