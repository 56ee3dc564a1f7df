"""Registry of networks: the paper's, torchvision's, timm's."""

import importlib.util
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qc_lightning.config import ModelConfig
from qc_lightning.config.model import TAIL_NEEDS
from qc_lightning.core.errors import UserError
from qc_lightning.core.suggestions import nearest
from qc_lightning.data.decoding.decode_settings import DecodeSettings
from qc_lightning.models import weights
from qc_lightning.models.backbones import Backbone, StageBackbone, TimmBackbone, wide_depth
from qc_lightning.models.mlp import MLP
from qc_lightning.models.network import Network
from qc_lightning.models.stages import fold_batch_norms, map_layer, stage_ends
from qc_lightning.models.tokens import TokenBackbone, VectorBackbone

# containers around the stages of torchvision networks
_NOT_STAGES = ("classifier", "fc", "head", "heads", "avgpool", "flatten", "dropout", "aux1", "aux2", "AuxLogits")
_PROBE = 224  # stages are found on photos of this side: the parts of a network must not depend on data.image_size


def build_network(
    config: ModelConfig, shape: tuple[int, int], load_weights: bool = True, tiles: tuple[int, int] = (1, 1)
) -> nn.Module:
    """Build the network that `config` names: float [B, 3, H, W] in [0, 1] to logits [B].

    Args:
        config: the network; `mode=scratch` never loads weights.
        shape: height and width of the photos, or of a tile of them, in pixels.
        load_weights: false when a checkpoint will fill the network anyway.
        tiles: rows and columns of tiles that the photos are cut into.

    Raises:
        UserError: there is no network of that name, it does not support the settings or the size of the photos, or
            its weights cannot be found.
    """
    if config.library == "own":
        return _paper_mlp(config, shape, tiles)
    if not config.pretrained and config.weights not in ("none", "auto"):
        raise UserError(
            f"model.mode={config.mode} starts from random weights, and model.weights={config.weights} is a file"
        )
    load = load_weights and config.pretrained
    backbone, made_for, file = (
        _torchvision(config, load) if config.library == "torchvision" else _timm(config, load, shape)
    )
    if config.tail:
        if not isinstance(backbone, TimmBackbone) or not backbone.has_patches:
            raise UserError(f"model: expected {TAIL_NEEDS}, got {config.name}")
        backbone.grow_tail()
    try:
        network = Network(
            backbone,
            config.pool,
            config.hidden,
            config.dropout,
            shape,
            config.views,
            fitted=config.pretrained,
            frozen=config.frozen,
            tiles=tiles,
            clip=config.clip,
            patches=config.patches,
            distance=config.distance,
        )
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else "it fails"
        setting, size, advice = "data.image_size", f"{shape[0]} px", f"made for {made_for}"
        if shape[0] != shape[1]:
            setting, size, advice = "data.resize", f"{shape[0]} x {shape[1]} px", "set data.resize=squash"
        raise UserError(f"{setting}: {config.name} cannot take photos of {size} ({reason}); {advice}") from error
    network.weights = file
    return network


def check_widths(config: ModelConfig, decode: DecodeSettings, state: Mapping[str, Tensor]) -> None:
    """Make sure, before a network is built, that the layers that settings ask for are those of its weights.

    Args:
        config: of the network.
        decode: of the photos that it takes.
        state: weights of the network, by name.

    Raises:
        ValueError: they are not; building them could take any memory.
    """
    widths = {tensor.shape[0] for tensor in state.values() if tensor.ndim}
    if not set(config.hidden) <= widths:
        raise ValueError(f"its weights have no layers as wide as {config.hidden}")
    first = state.get("layers.1.weight")
    if config.library == "own" and first is not None and first.shape[1] != 3 * math.prod(decode.tile):
        raise ValueError(f"its weights are not for photos of {decode.height} x {decode.width}")


def _paper_mlp(config: ModelConfig, shape: tuple[int, int], tiles: tuple[int, int]) -> MLP:
    if config.name != "mlp":
        raise UserError(f"model.name: expected mlp with model.library=own, got '{config.name}'")
    if config.pretrained or config.weights != "none":
        raise UserError("model=mlp has no published weights: it takes model.mode=scratch and model.weights=none only")
    return MLP(shape, config.hidden, config.dropout, tiles)


def _torchvision(config: ModelConfig, load: bool) -> tuple[Backbone, int, str]:
    """Backbone, side of the photos it was made for, name of its weight file."""
    from torchvision import models

    names = models.list_models(module=models)
    if config.name not in names:
        raise UserError(f"model.name: torchvision has no network '{config.name}'{nearest(config.name, names)}")
    published: Any = models.get_model_weights(config.name).DEFAULT.transforms()
    made_for, normalisation = int(published.crop_size[0]), (published.mean, published.std)
    arguments: dict[str, Any] = {}
    if config.name in ("googlenet", "inception_v3"):
        # their random initialisation takes many seconds and is replaced by the weights
        arguments = {"aux_logits": False, "init_weights": not config.pretrained}
        normalisation = ([0.5] * 3, [0.5] * 3)  # equivalent of torchvision's transform_input=True
    transformer = config.name.startswith("vit_")
    if transformer:
        arguments = {"image_size": made_for}
    model: Any = models.get_model(config.name, weights=None, **arguments)
    file = weights.load_pretrained(model, config) if load else "none"
    if transformer:
        _needs_maps(config, False)
        model.heads = nn.Identity()
        ends = [f"encoder.layers.encoder_layer_{i}" for i in range(len(model.encoder.layers))]
        return VectorBackbone(model, ends, f"{ends[-1]}.ln_1", normalisation), made_for, file
    stages, channels = _stages(model)
    _needs_stages(config, len(stages))
    swin = config.name.startswith("swin_")
    return StageBackbone(stages, _neck(model, channels), config.stages, swin, normalisation), made_for, file


def _steps(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of a torchvision network before its pooling, in order."""
    for name, child in model.named_children():
        if name not in _NOT_STAGES:
            yield from child if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
    if type(model).__name__ == "DenseNet":  # a function there, not a module
        yield nn.ReLU()


def _stages(model: nn.Module) -> tuple[list[nn.Sequential], int]:
    """Cut the layers into stages where the maps get clearly smaller; also return the channels of the last map."""
    model.eval()
    stages: list[list[nn.Module]] = []
    side, x = 2 * _PROBE, torch.zeros(1, 3, _PROBE, _PROBE)
    for step in _steps(model):
        with torch.no_grad():
            x = step(x)
        # photos are square: dimension 2 is a side both in [B, C, H, W] and in [B, H, W, C]. A convolution without
        # padding takes a pixel or two off, which is no new stage; nor is a pooling after which nothing is learnt
        if x.shape[2] < 0.75 * side:
            stages.append([])
        side = x.shape[2]
        stages[-1].append(step)
    if not any(list(step.parameters()) for step in stages[-1]):
        last = stages.pop()
        stages[-1] += last
    model.train()
    return [nn.Sequential(*stage) for stage in stages], x.shape[1]


def _neck(model: Any, channels: int) -> nn.Sequential:
    """The layers of a torchvision network between its pooling and the last linear layer, without dropout.

    MobileNetV3 has a wide layer there, ConvNeXt and MaxViT a norm. AlexNet's and VGG's wide layers read a fixed grid of
    positions, not channels: they are left out, and so is SqueezeNet's convolution, which is its classifier.
    """
    end = next(getattr(model, name) for name in ("classifier", "fc", "head") if hasattr(model, name))
    layers = list(end)[:-1] if isinstance(end, nn.Sequential) and isinstance(end[-1], nn.Linear) else []
    layers = [layer for layer in layers if not isinstance(layer, nn.Dropout)]
    linear = next((layer for layer in layers if isinstance(layer, nn.Linear)), None)
    if linear is not None and linear.in_features != channels:
        layers = []
    flattened = any(isinstance(layer, nn.Flatten) for layer in layers)
    return nn.Sequential(*layers) if flattened else nn.Sequential(nn.Flatten(), *layers)


def _timm(config: ModelConfig, load: bool, shape: tuple[int, int]) -> tuple[Backbone, int, str]:
    """Backbone, side of the photos it was made for, name of its weight file."""
    if importlib.util.find_spec("timm") is None:
        raise UserError("model.library=timm needs timm: pip install timm")
    import timm

    if not timm.is_model(config.name):
        raise UserError(f"model.name: timm has no network '{config.name}'{nearest(config.name, timm.list_models())}")
    try:
        model: Any = timm.create_model(config.name)
    except RuntimeError as error:  # a name that it has with a tag that it has not
        tags = timm.list_pretrained(f"{config.name.split('.')[0]}.*")
        raise UserError(f"model.name: timm has no network '{config.name}'{nearest(config.name, tags)}") from error
    file = weights.load_pretrained(model, config) if load else "none"
    cfg = model.pretrained_cfg
    normalisation, made_for = (cfg["mean"], cfg["std"]), int(cfg["input_size"][-1])
    model.reset_classifier(0)
    if config.pretrained and wide_depth(model):
        fold_batch_norms(model.eval())
    if type(model).__name__ == "VisionTransformer" and (config.stages, config.pool) != (1, ["avg"]):
        _needs_stages(config, len(model.blocks))
        return TokenBackbone(model, config.stages, shape, normalisation), made_for, file
    ends = stage_ends(model)
    layer = map_layer(model, made_for)
    _needs_maps(config, layer is not None)
    if layer is not None:
        backbone = TimmBackbone(model, config.stages, layer, normalisation)
        _needs_stages(config, backbone.depth)
        return backbone, made_for, file
    last = ends[-1] if ends else next(name for name, _ in reversed(list(model.named_modules())))
    norm = f"{last}.norm1"
    return (
        VectorBackbone(model, ends, norm if norm in dict(model.named_modules()) else last, normalisation),
        made_for,
        file,
    )


def _needs_maps(config: ModelConfig, has_maps: bool) -> None:
    if not has_maps and (config.stages, config.pool) != (1, ["avg"]):
        raise UserError(
            f"model.stages, model.pool: {config.name} has no feature maps; it takes model.stages=1 model.pool=[avg]"
        )


def _needs_stages(config: ModelConfig, has: int) -> None:
    if config.stages > has:
        raise UserError(f"model.stages: expected at most {has}, the stages of {config.name}, got {config.stages}")
