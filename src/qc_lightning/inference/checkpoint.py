"""Checkpoint files: find and read them without running code, and complete them for an Inspector."""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from qc_lightning.config.model import ModelConfig
from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError, reading
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.metrics.decision import Decision
from qc_lightning.models.precision import compute_in_float32

if TYPE_CHECKING:
    from torch import nn

    from qc_lightning.models.novelty import Novelty


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running code in it.

    Raises:
        UserError: the file is missing or not a checkpoint.
    """
    if not path.is_file():
        raise UserError(
            f"expected a checkpoint {path}, there is none: was the training stopped before its first epoch?"
        )
    try:
        _check(path)
        checkpoint: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many error types for a damaged file
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path} is damaged or no checkpoint: {reason}") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path} is damaged or no checkpoint: expected a dict, got {type(checkpoint).__name__}")
    return checkpoint


def _check(path: Path) -> None:
    """Refuse a checkpoint with wrong checksums, which torch does not check, or one that needs more memory than its
    file's size: compressed entries, or tensors with a larger shape than their data.

    Raises:
        ValueError: it is refused.
        zipfile.BadZipFile: it is not a valid zip file.
    """
    file_size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is packed, checkpoints are not")
        if sum(entry.file_size for entry in entries) > file_size:
            raise ValueError("it declares more data than the file has")
        if wrong := archive.testzip():
            raise ValueError(f"the checksum of {wrong} is wrong")
    # on the meta device an oversized tensor takes no memory; on the CPU torch would allocate it
    storages: dict[int, int] = {}
    for tensor in _tensors(torch.load(path, map_location="meta", weights_only=True)):
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        if tensor.numel() * tensor.element_size() > storage.nbytes() or sum(storages.values()) > file_size:
            raise ValueError(f"a tensor of {tuple(tensor.shape)} is larger than its data")


def _tensors(node: object) -> Iterator[torch.Tensor]:
    """All tensors in nested containers."""
    if isinstance(node, torch.Tensor):
        yield node
    elif isinstance(node, dict | list | tuple):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _tensors(inner)


def complete_checkpoint(
    path: Path,
    decode: DecodeSettings,
    decision: Decision,
    class_names: tuple[str, str],
    novelty: dict[str, torch.Tensor] | None = None,
) -> str:
    """Add to a checkpoint what an Inspector needs besides the weights; return the model id.

    Args:
        path: path of the checkpoint.
        decode: settings that turn a file into the network's input.
        decision: rule that turns a probability into a verdict.
        class_names: the user's names for Correct and Incorrect.
        novelty: state of the run's `Novelty`; None if it measures none.
    """
    checkpoint = read_checkpoint(path)
    model_id = _digest(checkpoint["state_dict"])
    checkpoint["inspector"] = {
        "decode": decode.plain(),
        "decision": decision.to_dict(),
        "class_names": list(class_names),
        "model_id": model_id,
        "novelty": novelty,
    }
    content = io.BytesIO()  # not directly to a file: on a full disk torch raises a RuntimeError without the file's name
    torch.save(checkpoint, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return model_id


def saved_decision(path: Path) -> tuple[str, Decision, dict[str, Any]]:
    """The model id, the decision and the decode settings of a finished checkpoint.

    Raises:
        UserError: it is missing, damaged or not finished.
    """
    checkpoint = _finished(path)
    with reading(path):
        saved = checkpoint["inspector"]
        decode = DecodeSettings(**saved["decode"]).plain()
        return str(saved["model_id"]), Decision.from_dict(saved["decision"]), decode


def _finished(path: Path) -> dict[str, Any]:
    checkpoint = read_checkpoint(path)
    if "inspector" not in checkpoint:
        raise UserError(f"{path} is of a run that was stopped before it was measured; finish it with resume=<run>")
    return checkpoint


class Restored(NamedTuple):
    """Content of a finished checkpoint, ready to inspect; network and novelty are in eval mode on the device."""

    network: "nn.Module"
    decode: DecodeSettings
    decision: Decision
    class_names: tuple[str, str]
    model_id: str
    device: torch.device
    novelty: "Novelty | None"


def restore(path: Path, device: str) -> Restored:
    """Build the network of a finished checkpoint, with its weights.

    Args:
        path: path of the checkpoint.
        device: as for `chosen_device`.

    Raises:
        UserError: it is missing, damaged, not finished or of another release, or the device is not available.
    """
    from qc_lightning.models.novelty import Novelty
    from qc_lightning.models.registry import build_network, check_widths

    checkpoint = _finished(path)
    where_to = chosen_device(device)
    with reading(path):
        parts, prefix = checkpoint["inspector"], "network."
        stored = checkpoint["state_dict"].items()
        state = {key.removeprefix(prefix): value for key, value in stored if key.startswith(prefix)}
        decode = DecodeSettings(**parts["decode"])
        model = ModelConfig.stored(checkpoint["hyper_parameters"]["model"])
        check_widths(model, decode, state)
        try:
            tiles = (decode.rows, decode.columns)
            network = build_network(model, decode.tile, load_weights=False, tiles=tiles)
            network.load_state_dict(state)
        except RuntimeError as error:  # layers unknown to this release
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} was made by another release of qc-lightning ({reason}): train again") from error
        correct, incorrect = (str(name) for name in parts["class_names"])
        decision, model_id = Decision.from_dict(parts["decision"]), str(parts["model_id"])
        distances = parts.get("novelty")
        novelty = None if distances is None else Novelty.from_state(distances).to(where_to).eval()
    network = network.to(where_to).eval().requires_grad_(False)
    return Restored(network, decode, decision, (correct, incorrect), model_id, where_to, novelty)


def _digest(state: dict[str, torch.Tensor]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for key in sorted(key for key in state if key.startswith("network.")):
        digest.update(key.encode())
        digest.update(state[key].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def locate(where: Run | str | os.PathLike[str]) -> tuple[Path, Run | None]:
    """The checkpoint, and the run with the decisions; a checkpoint alone uses its own decision."""
    if isinstance(where, Run):
        return where.best, where
    path = Path(where).expanduser()
    if path.is_file():
        return path, None
    run = Run(path) if path.is_dir() else Run.open(str(where))
    return run.best, run


def chosen_device(name: str) -> torch.device:
    """The device of that name, `auto` a GPU when there is one; networks compute in float32 on it.

    Raises:
        UserError: it is not available.
    """
    compute_in_float32()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        # each process on a machine uses the GPU of its rank
        local = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
        return torch.device("cuda", int(local) % gpus) if gpus else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device: expected auto, cpu or cuda, got '{name}'") from None
    if device.type == "cuda" and not gpus:
        raise UserError(f"device={name}: no CUDA GPU is visible here; use device=cpu or device=auto")
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise UserError(f"device={name}: expected cuda:0 to cuda:{gpus - 1}, there is no further GPU")
    return device
