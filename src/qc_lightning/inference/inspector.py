"""A trained classifier outside of training: photos in, probabilities and verdicts out. Needs torch, not Lightning."""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qc_lightning.config import ModelConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.decode import DecodeSettings
from qc_lightning.inference.checkpoint import read_checkpoint
from qc_lightning.metrics.decision import Decision
from qc_lightning.models.registry import build_network


@dataclass(frozen=True)
class Inspector:
    """Everything that turns a file into a verdict, as one checkpoint holds it.

    Attributes:
        network: float [B, 3, H, W] in [0, 1] to logits [B], in eval mode, on `device`.
        decode: how a file becomes the uint8 [3, H, W] that the network was trained on.
        decision: the threshold.
        class_names: what the user calls Correct and Incorrect.
        model_id: first 12 digits of the SHA-256 over the weights: which model a verdict came from.
        device: where the network is.
    """

    network: nn.Module
    decode: DecodeSettings
    decision: Decision
    class_names: tuple[str, str]
    model_id: str
    device: torch.device

    @classmethod
    def load(cls, run: Run, device: str = "auto") -> "Inspector":
        """Load the best checkpoint of a run.

        Args:
            run: the run folder.
            device: `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:<n>`.

        Raises:
            UserError: the run has no finished checkpoint, or the device is not there.
        """
        checkpoint = read_checkpoint(run.best)
        if "inspector" not in checkpoint:
            raise UserError(f"{run.folder} was stopped before it was measured; finish it with resume={run.folder}")
        parts = checkpoint["inspector"]
        state, prefix = checkpoint["state_dict"], "network."
        try:
            decode = DecodeSettings(**parts["decode"])
            model = ModelConfig(**checkpoint["hyper_parameters"]["model"])
            tiles = (decode.rows, decode.columns)
            network = build_network(model, decode.tile, load_weights=False, tiles=tiles)
            network.load_state_dict({key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)})
        except (TypeError, RuntimeError) as error:  # settings or layers that this release does not have
            reason = str(error).splitlines()[0]
            raise UserError(f"{run.best} was made by another release of qc-lightning ({reason}): train anew") from error
        where = _device(device)
        correct, incorrect = parts["class_names"]
        network = network.to(where).eval().requires_grad_(False)
        return cls(
            network, decode, Decision.from_dict(parts["decision"]), (correct, incorrect), parts["model_id"], where
        )

    def logits(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Logits of P(Incorrect), float32 [B] on the CPU, for decoded photos uint8 [B, 3, H, W]."""
        with torch.inference_mode():
            image = torch.from_numpy(pixels).to(self.device).float() / 255
            logit: torch.Tensor = self.network(image)
        return logit.float().cpu()

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """P(Incorrect), float64 [B] in [0, 1], for decoded photos uint8 [B, 3, H, W]."""
        return probabilities(self.logits(pixels))


def probabilities(logit: torch.Tensor) -> npt.NDArray[np.float64]:
    """P(Incorrect), float64 [B] in [0, 1]: the sigmoid of float32 logits [B], taken in double precision."""
    return torch.sigmoid(logit.double()).numpy()


def _device(name: str) -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        # of several processes on one machine, which a launcher numbers, each takes the next GPU
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
