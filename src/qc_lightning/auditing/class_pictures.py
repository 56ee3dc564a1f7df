"""Mean picture of each class, and a map of their difference."""

import numpy as np
import numpy.typing as npt

from qc_lightning.data.dataset import PhotoSet

_MOST = 400  # photos per class
_BLOCK = 16
_CLEAR = 3.0  # difference in standard deviations from which a pixel is drawn at full intensity


def class_pictures(photos: PhotoSet, class_names: tuple[str, str]) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Captions and pictures, uint8 [3, H, W]: mean of each class, and the difference of the means in standard
    deviations.

    Args:
        photos: photos of both classes.
        class_names: the user's names for Correct and Incorrect.
    """
    means, variances = [], []
    for label in (0, 1):
        places = np.flatnonzero(photos.labels == label)
        places = places[:: max(1, len(places) // _MOST)]
        total = np.zeros(photos.decode.shape)
        squares = np.zeros(photos.decode.shape)
        for start in range(0, len(places), _BLOCK):
            pixels = photos.pixels(places[start : start + _BLOCK]).astype(np.float32)
            total += pixels.sum(0)
            squares += (pixels**2).sum(0)
        means.append(total / len(places))
        variances.append(np.maximum(squares / len(places) - means[-1] ** 2, 0))
    distance = np.abs(means[1] - means[0]) / np.sqrt((variances[0] + variances[1]) / 2 + 4)
    heat = np.clip(distance.max(0) / _CLEAR, 0, 1)
    ground = means[0].mean(0) * 0.5
    drawn = np.stack([ground + heat * (255 - ground), ground + heat * (120 - ground), ground * (1 - heat)])
    return [
        (f"mean of {class_names[0]}", np.rint(means[0]).astype(np.uint8)),
        (f"mean of {class_names[1]}", np.rint(means[1]).astype(np.uint8)),
        ("orange: pixels that differ between the classes", np.rint(drawn).astype(np.uint8)),
    ]
