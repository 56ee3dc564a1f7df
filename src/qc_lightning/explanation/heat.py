"""Heat maps of the evidence for a verdict, by the methods of the grad-cam package and by tracing the logit.

A network's layers are read at the input of the pooling (`cam_layers`). There the contributions of stages and of
mirrored views to the logit are additive, and no gradient passes through the backbone. A multilayer perceptron has no
maps: the photo is the layer, and only gradient times input per pixel is meaningful. Grad-CAM's mean gradient per colour
channel would be the photo in other colours. Pretrained networks have their own method, see `evidence`.
"""

import threading
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qc_lightning.core.errors import UserError
from qc_lightning.explanation.evidence import distances, evidence, has_distance, has_evidence
from qc_lightning.models.mlp import MLP
from qc_lightning.models.network import FLIPS, Network

METHODS = {
    "gradcam": "GradCAM",  # Selvaraju et al. 2017
    "hirescam": "HiResCAM",  # Draelos & Carin 2020
    "gradcam++": "GradCAMPlusPlus",  # Chattopadhay et al. 2018
    "layercam": "LayerCAM",  # Jiang et al. 2021
    "eigencam": "EigenCAM",  # Muhammad & Yeasin 2020
    "scorecam": "ScoreCAM",  # Wang et al. 2020
}
_TRACED = {"distance": distances, "evidence": evidence}
_LAST_ONLY = ("eigencam", "scorecam")  # not in units of logits, so stages cannot be added; slow on large maps
SMOOTH = 0.02  # standard deviation of the Gaussian that smooths every map, as a fraction of its longer side


def methods_for(network: nn.Module) -> tuple[str, ...]:
    """The meaningful methods for a network; `auto` is the first."""
    if isinstance(network, MLP):
        return ("hirescam",)
    cams = ("hirescam", *(method for method in METHODS if method != "hirescam"))
    traced = ("evidence",) if has_evidence(network) else ()
    return (*(("distance",) if has_distance(network) else ()), *traced, *cams)


class Heat:
    """Computes heat maps of one network by one method.

    Args:
        network: the network of an Inspector: photos in [0, 1] to logits, in eval mode.
        method: one of METHODS, `evidence`, `distance`, or `auto`: the first that `methods_for` names.

    Attributes:
        method: the resolved method.

    Raises:
        UserError: the method does not apply to the network.
    """

    def __init__(self, network: nn.Module, method: str) -> None:
        fitting = methods_for(network)
        method = fitting[0] if method == "auto" else method
        if method not in fitting:
            raise UserError(f"method: expected {' or '.join(fitting)} for this network, got '{method}'")
        self.network, self.method = network, method
        if method in _TRACED:
            return
        import pytorch_grad_cam

        layers: list[nn.Module] = network.cam_layers  # type: ignore[assignment]
        views: int = getattr(network, "views", 1)
        self._flips = [FLIPS[view] for view in range(views) for _ in layers]
        self._cam: Any = getattr(pytorch_grad_cam, METHODS[method])(network, layers)
        self._cam.activations_and_grads.release()  # it supports only the maps of a single pass, without mirrored views
        self._layers = layers

    def __call__(self, image: Tensor, incorrect: Sequence[bool]) -> tuple[npt.NDArray[np.float32], Tensor]:
        """Explain why photos look Incorrect, or Correct.

        Args:
            image: float [B, 3, H, W] in [0, 1], on the network's device.
            incorrect: for each photo, whether evidence for Incorrect is sought, else for Correct.

        Returns:
            Heat, float32 [B, H, W], 0 and above, with sum 1 unless there is no evidence; and logits [B].
        """
        if self.method in _TRACED:
            combined, logit = _TRACED[self.method](cast(Network, self.network), image)
            side = torch.where(torch.tensor(incorrect), 1.0, -1.0)
            return _as_heat(combined.cpu() * side[:, None, None]), logit.float().cpu()

        from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget

        targets = [BinaryClassifierOutputTarget(int(wanted)) for wanted in incorrect]
        with torch.inference_mode(False), torch.enable_grad():
            photo = image.detach().clone()
            logit, maps = self._maps(photo)
            if self.method not in _LAST_ONLY:
                speaks = torch.stack([target(out) for target, out in zip(targets, logit, strict=True)]).sum()
                torch.autograd.backward(speaks)
        combined = torch.zeros(len(photo), *photo.shape[2:])
        for activation, flips in zip(maps, self._flips, strict=True):
            if self.method in _LAST_ONLY and activation.shape != maps[-1].shape:
                continue
            gradient = torch.zeros_like(activation) if activation.grad is None else activation.grad
            laid = [_laid_out(some.detach()).flip(flips).cpu().numpy() for some in (activation, gradient)]
            with redirect_stderr(StringIO()):  # suppress ScoreCAM's progress bar per photo
                layer_map = torch.from_numpy(self._cam.get_cam_image(photo, None, targets, *laid, False)).float()
            # a cell's evidence is spread over its pixels
            cells = layer_map.shape[1] * layer_map.shape[2] / (combined.shape[1] * combined.shape[2])
            combined += cells * nn.functional.interpolate(layer_map[:, None], combined.shape[1:], mode="bilinear")[:, 0]
        return _as_heat(combined), logit.detach().float().cpu()

    def _maps(self, photo: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps: list[Tensor] = []
        own = threading.get_ident()

        def cut(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            if threading.get_ident() != own:  # a prediction inspects further photos meanwhile
                return output
            maps.append(output.detach().requires_grad_())
            return maps[-1]

        hooks = [layer.register_forward_hook(cut) for layer in self._layers]
        try:
            return self.network(photo), maps
        finally:
            for hook in hooks:
                hook.remove()


def _as_heat(combined: Tensor) -> npt.NDArray[np.float32]:
    heat = smooth(combined, renormalise=False).relu()
    normalised: npt.NDArray[np.float32] = (heat / heat.sum((1, 2), keepdim=True).clamp_min(1e-30)).numpy()
    return normalised


def _laid_out(feature_map: Tensor) -> Tensor:
    """A map unchanged; a transformer's tokens [B, N, C] as [B, C, side, side] without the class token."""
    if feature_map.ndim == 4:
        return feature_map
    side = int(feature_map.shape[1] ** 0.5)
    tokens, channels = feature_map[:, -side * side :], feature_map.shape[2]
    return tokens.reshape(-1, side, side, channels).permute(0, 3, 1, 2)


def smooth(maps: Tensor, sigma: float = SMOOTH, renormalise: bool = True) -> Tensor:
    """Smooth maps [N, H, W] with a Gaussian.

    Args:
        maps: float [N, H, W].
        sigma: standard deviation as a fraction of the longer side.
        renormalise: near the edge average over existing cells only; otherwise cells beyond the edge count as 0.
            Evidence is not renormalised: the same spot would be up to four times as hot in a corner.
    """
    down, across = (_weights(side, sigma * max(maps.shape[1:]), renormalise) for side in maps.shape[1:])
    return down @ maps @ across.T


def _weights(side: int, sigma: float, renormalise: bool) -> Tensor:
    """Smoothing weights [side, side]."""
    place = torch.arange(side)
    weight = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    everywhere = torch.exp(-0.5 * (torch.arange(-side, side + 1) / sigma) ** 2).sum()
    return weight / (weight.sum(1, keepdim=True) if renormalise else everywhere)
