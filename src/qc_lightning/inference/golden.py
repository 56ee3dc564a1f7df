"""Golden inputs: photos stored with a model, and the logits that it must give them on every machine.

They detect a runtime with lower precision or a fault before it gives a verdict.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

TOLERANCE = 1e-3
"""Largest difference of a logit. A difference of 0.001 changes a probability by at most 0.00025."""


@dataclass(frozen=True)
class Golden:
    """Network inputs and their logits at the export.

    Attributes:
        pixels: uint8 [n, 3, H, W].
        logit: float32 [n].
    """

    pixels: npt.NDArray[np.uint8]
    logit: npt.NDArray[np.float32]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data; each photo is a lossless PNG in base64."""
        return {"png": [_png(photo) for photo in self.pixels], "logit": [float(z) for z in self.logit]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Read back `to_dict`.

        Raises:
            LookupError, TypeError, ValueError: the data has another format.
        """
        pixels = np.stack([_pixels(text) for text in stored["png"]])
        logit = np.array(stored["logit"], np.float32)
        if logit.shape != pixels.shape[:1]:
            raise ValueError(f"{len(pixels)} golden inputs, logits of shape {logit.shape}")
        return cls(pixels, logit)

    def gap(self, logit: npt.NDArray[np.float32]) -> float:
        """Largest difference of logits [n] from those at the export; infinite if one is not a number."""
        gap = np.abs(logit.astype(np.float64) - self.logit)
        return float(np.where(np.isfinite(gap), gap, np.inf).max(initial=0.0))


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(file, "PNG", compress_level=9)
    return base64.b64encode(file.getvalue()).decode()


def _pixels(png: str) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"]) as image:
            return np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1))
    except OSError as error:
        raise ValueError(f"a golden input is no PNG ({error})") from error
