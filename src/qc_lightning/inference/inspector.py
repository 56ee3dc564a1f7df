"""The inspector: photos in, inspections out. Needs torch for a run, not for an export."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import DecodeSettings, scaled
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspection import (
    Decoded,
    Inspection,
    PhotoLike,
    check_decoded,
    check_unreadable,
    conclude,
    decode_photo,
)
from qc_lightning.metrics.decision import Decision, probabilities
from qc_lightning.metrics.record import DecisionFile
from qc_lightning.metrics.verdict import Verdict

if TYPE_CHECKING:
    import torch
    from torch import nn

    from qc_lightning.models.novelty import Novelty

_AT_ONCE = 64  # photos in memory at a time


@dataclass(frozen=True)
class Inspector:
    """Everything that turns a photo into a verdict, loaded from one checkpoint.

    >>> inspector = Inspector.load("outputs/2026-01-31/12-00-00")  # doctest: +SKIP
    >>> inspector("incoming/0001.jpg").verdict  # doctest: +SKIP
    <Verdict.PASS: 'PASS'>

    Attributes:
        network: float [B, 3, H, W] in [0, 1] to logits [B], in eval mode, on `device`.
        decode: settings that turn a file into the network's input, uint8 [3, H, W].
        decision: rule that turns a probability into a verdict.
        class_names: the user's names for Correct and Incorrect.
        model_id: first 12 digits of the SHA-256 over the weights.
        device: device of the network.
        unreadable: the verdict on a photo that cannot be read, REVIEW or REJECT.
        novelty: computes the novelty of photos, see `scores`; None if it is not measured.
        certificate: guarantee of the decision in force, as in decision.json but without photos; None if there is none.
    """

    network: "nn.Module"
    decode: DecodeSettings
    decision: Decision
    class_names: tuple[str, str]
    model_id: str
    device: "torch.device"
    unreadable: Verdict = Verdict.REVIEW
    novelty: "Novelty | None" = None
    certificate: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_unreadable(self.unreadable)

    @overload
    @classmethod
    def load(cls, where: Run, device: str = "auto", unreadable: Verdict = Verdict.REVIEW) -> "Inspector": ...

    @overload
    @classmethod
    def load(
        cls, where: str | os.PathLike[str], device: str = "auto", unreadable: Verdict = Verdict.REVIEW
    ) -> "Inspector | ExportedInspector": ...

    @classmethod
    def load(
        cls, where: Run | str | os.PathLike[str], device: str = "auto", unreadable: Verdict = Verdict.REVIEW
    ) -> "Inspector | ExportedInspector":
        """Load the model of a run, or an exported model.

        Args:
            where: a run, its folder, its best.ckpt alone, the name of a release, or `latest`, the newest finished run
                below ./outputs; or an exported inspector, .onnx, which needs no torch. The decision in force is the
                newest of a run's decision.json, or the one of the release; a best.ckpt alone has its training's.
            device: `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:<n>`.
            unreadable: the verdict on a photo that cannot be read, REVIEW or REJECT.

        Raises:
            UserError: there is no finished checkpoint, the file is damaged, its decision.json belongs to another model
                or was edited by hand, or the device is missing.
        """
        if not isinstance(where, Run) and os.fspath(where).lower().endswith(".onnx"):
            if device not in ("auto", "cpu"):
                raise UserError(f"device={device}: expected auto or cpu, an exported inspector runs on the CPU")
            return ExportedInspector.load(where, unreadable)
        from qc_lightning.inference.checkpoint import locate, restore

        path, run = locate(where)
        saved, certificate = restore(path, device), None
        if run is not None:
            record = DecisionFile.read(run.decisions, saved.model_id, saved.decision).named(run)
            saved = saved._replace(decision=record.decision)
            certificate = {key: value for key, value in (record.certificate or {}).items() if key != "photos"} or None
        return cls(**saved._asdict(), unreadable=unreadable, certificate=certificate)

    @property
    def backend(self) -> dict[str, str]:
        """Name and versions of the backend, as recorded in a certificate."""
        return {"backend": "torch", "precision": "float32", "device": str(self.device)}

    def on(self, device: str) -> "Inspector":
        """Move the network to another device and return the inspector for it.

        Raises:
            UserError: the device is missing.
        """
        from qc_lightning.inference.checkpoint import chosen_device

        target = chosen_device(device)
        novelty = None if self.novelty is None else self.novelty.to(target)
        return replace(self, network=self.network.to(target), novelty=novelty, device=target)

    @overload
    def __call__(self, photo: list[PhotoLike] | tuple[PhotoLike, ...]) -> list[Inspection]: ...

    @overload
    def __call__(self, photo: PhotoLike) -> Inspection: ...

    def __call__(self, photo: PhotoLike | list[PhotoLike] | tuple[PhotoLike, ...]) -> Inspection | list[Inspection]:
        """Inspect a photo or a list of photos; on a CPU a result does not depend on the other photos.

        Args:
            photo: a path, the bytes of an image file, a PIL image, or RGB pixels uint8 [H, W, 3] of any size. All go
                through the decoder that the training photos went through.

        Returns:
            The values that `predict` writes, to the last digit; a list for a list. An unreadable photo has the verdict
            `unreadable` and an error.

        Raises:
            TypeError: it is of another type, or an array of another type than uint8.
            ValueError: it is an array of another shape than [H, W, 3].
        """
        if not isinstance(photo, list | tuple):
            return self.inspect_decoded([decode_photo(photo, self.decode)])[0]
        results: list[Inspection] = []
        for start in range(0, len(photo), _AT_ONCE):
            results += self.inspect_decoded([decode_photo(one, self.decode) for one in photo[start : start + _AT_ONCE]])
        return results

    def inspect_decoded(self, photos: Sequence[Decoded], exact: bool = False) -> list[Inspection]:
        """Inspect decoded photos.

        Args:
            photos: decoded with `decode`.
            exact: all go through the network as one batch, as in the training.

        Raises:
            UserError: the batch does not fit into the device's memory.
        """
        import torch

        pixels = [photo.pixels for photo in photos if photo.pixels is not None]
        begun = time.perf_counter()
        logit, novelty = torch.empty(0), None
        if pixels:
            try:
                batch = np.stack(pixels)
                logit, novelty = self.batch_scores(batch) if exact else self.scores(batch)
            except torch.OutOfMemoryError:
                raise UserError(
                    f"{len(pixels)} photos at a time do not fit into the memory of {self.device}: "
                    "give a smaller batch_size="
                ) from None
        seconds = (time.perf_counter() - begun) / max(1, len(pixels))
        measured = logit.tolist(), probabilities(logit).tolist(), None if novelty is None else novelty.tolist()
        return conclude(photos, *measured, self.decision, self.model_id, self.unreadable, seconds)

    def scores(self, pixels: npt.NDArray[np.uint8]) -> "tuple[torch.Tensor, torch.Tensor | None]":
        """Logits of P(Incorrect) and novelty, float32 [B] each, on the CPU.

        On a CPU a photo's result does not depend on the others.

        Args:
            pixels: photos uint8 [B, 3, H, W] of `decode.shape`.

        Returns:
            The second is None if the model does not measure it.

        Raises:
            TypeError: they are not uint8.
            ValueError: they have another shape.
        """
        import torch

        from qc_lightning.models.tiles import blockwise

        check_decoded(pixels, self.decode)
        if len(pixels) == 0:
            return self.batch_scores(pixels)
        few, many = self._blocks
        outputs = blockwise(self._run, torch.from_numpy(pixels), few if len(pixels) <= few else many)
        return outputs[0], outputs[1] if len(outputs) > 1 else None

    @cached_property
    def _blocks(self) -> tuple[int, int]:
        """Photos per block: the smallest size with equal results, found by trial, and the size for many photos."""
        from qc_lightning.models.network import block_of, gpu_block
        from qc_lightning.models.tiles import smallest_block

        if self.device.type != "cpu":
            block = gpu_block(self.decode.height, self.decode.width)
            return block, block
        many = block_of(self.network)
        return smallest_block(self._run, self.decode.shape, many), many

    def batch_scores(self, pixels: npt.NDArray[np.uint8]) -> "tuple[torch.Tensor, torch.Tensor | None]":
        """Like `scores`, for decoded photos uint8 [B, 3, H, W] as one batch."""
        import torch

        outputs = self._run(torch.from_numpy(pixels))
        return outputs[0], outputs[1] if len(outputs) > 1 else None

    def _run(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        """Logits and, if measured, novelty, of uint8 [B, 3, H, W]; float32 [B] each, on the CPU."""
        import torch

        from qc_lightning.models.network import Network
        from qc_lightning.models.novelty import pixel_features

        with torch.inference_mode():
            image = scaled(pixels.to(self.device))
            if isinstance(self.network, Network):
                features = self.network.tile_features(image)
                logit = self.network.classify(features)
                features = features[..., : self.network.pooled_width]
            else:
                logit = self.network(image)
                features = image if self.novelty is None else pixel_features(image)
            outputs = [logit] if self.novelty is None else [logit, self.novelty(features.float())]
        return tuple(each.float().cpu() for each in outputs)

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """P(Incorrect), float64 [B] in [0, 1], for decoded photos; arguments and errors as for `scores`."""
        return probabilities(self.scores(pixels)[0])
