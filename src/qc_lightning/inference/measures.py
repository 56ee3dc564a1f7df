"""Drift statistics of a photo, from its pixels and from the network's outputs. Needs numpy only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PIXEL_STATISTICS = ("mean", "contrast", "colour", "sharpness", "noise")
"""Names of the statistics of `of_pixels`, in order."""

SIDE = 8  # cells per side of the small picture that replaces features if the network has none

Floats = npt.NDArray[np.float64]


def of_pixels(pixels: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    """Mean, contrast, colour, sharpness and noise of a decoded photo.

    Mean and contrast (standard deviation) are of the grey picture, colour is red less blue. Sharpness is the logarithm
    of the energy of second differences over that of first differences; it falls with blur, independent of contrast.
    Noise is the median absolute response to Immerkaer's mask (Immerkaer 1996), which edges hardly affect; it falls with
    JPEG compression.

    Args:
        pixels: uint8 [3, H, W] with H and W at least 3.
    """
    grey = pixels.mean(0, dtype=np.float32)
    down, across = np.diff(grey, axis=0), np.diff(grey, axis=1)
    second = np.diff(down, axis=0)[:, 1:-1] + np.diff(across, axis=1)[1:-1]
    mask = np.diff(np.diff(grey, 2, axis=0), 2, axis=1)
    energy = float(np.square(down).mean() + np.square(across).mean())
    sharpness = np.log((float(np.square(second).mean()) + 1e-3) / (energy + 1e-3))
    noise = np.median(np.abs(mask)) / (6 * 0.6745)
    colour = round(float(pixels[0].mean() - pixels[2].mean()), 1)  # exactly 0 for a grey camera
    return float(grey.mean()), float(grey.std()), colour, float(sharpness), float(noise)


def small_picture(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Mean grey of 8 x 8 fields of a decoded photo uint8 [3, H, W], float32 [64]."""
    grey = pixels.mean(0, dtype=np.float32)
    down, across = (np.linspace(0, size, SIDE + 1).astype(int) for size in grey.shape)
    fields = np.add.reduceat(np.add.reduceat(grey, down[:-1], axis=0), across[:-1], axis=1)
    sizes = np.maximum(1, np.outer(np.diff(down), np.diff(across)))  # below 8 x 8 some fields are one pixel
    means: npt.NDArray[np.float32] = (fields / sizes).ravel().astype(np.float32)
    return means


@dataclass(frozen=True)
class Components:
    """Principal components of the features of the training photos.

    Attributes:
        mean: float [F].
        directions: float [K, F], unit length, sorted by decreasing variance.
    """

    mean: Floats
    directions: Floats

    @classmethod
    def fit(cls, features: Floats, most: int) -> "Components":
        """Fit at most `most` components to features [n, F], n >= 2."""
        mean = features.mean(0)
        directions = np.linalg.svd(features - mean, full_matrices=False)[2][: min(most, len(features) - 1)]
        largest = np.abs(directions).argmax(1)
        return cls(mean, directions * np.sign(directions[np.arange(len(directions)), largest])[:, None])

    def project(self, features: npt.NDArray[np.float32]) -> Floats:
        """Coordinates [..., K] of features [..., F]."""
        projected: Floats = (features - self.mean) @ self.directions.T
        return projected
