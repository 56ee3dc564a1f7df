"""Select the photos to check an export on, and the ones stored in it as golden inputs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.photo import Photo
from qc_lightning.evaluation.evaluation_set import split_photos

GOLDEN_COUNT = 32
_GOLDEN_PIXELS = 16_000_000  # total colour values of all golden inputs: at most about as many bytes in the file


def gate_photos(run: Run) -> list[Photo]:
    """The photos that set the threshold (validation, else the training part, out of fold) and the test photos.

    Raises:
        UserError: split.csv lists none of them.
    """
    by_subset: dict[str | None, list[Photo]] = {"val": [], "train": [], "test": []}
    for photo in split_photos(run):
        by_subset[photo.subset].append(photo)
    photos = (by_subset["val"] or by_subset["train"]) + by_subset["test"]
    if not photos:
        raise UserError(f"{run.split} lists no photos to check an export on: export a run that was trained here")
    return photos


def other_photos(run: Run, photos: Sequence[Photo]) -> list[Photo]:
    """The run's photos that are not in a list."""
    taken = {photo.path for photo in photos}
    return [photo for photo in split_photos(run) if photo.path not in taken]


def golden_places(logit: npt.NDArray[np.float32], shape: tuple[int, int, int]) -> npt.NDArray[np.intp]:
    """Positions of the photos for golden inputs, evenly spaced in the order of their logits.

    Args:
        logit: float32 [n], n >= 1.
        shape: 3, H, W of a decoded photo; fewer large photos are taken, so that the file stays small.
    """
    count = max(1, min(GOLDEN_COUNT, len(logit), _GOLDEN_PIXELS // (shape[0] * shape[1] * shape[2])))
    order = np.argsort(logit, kind="stable")
    return order[np.linspace(0, len(logit) - 1, count).round().astype(np.intp)]
