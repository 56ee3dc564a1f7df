"""Whether the photos of a batch, taken together, are unlike all training photos: then no figure of the run holds.

A single photo is judged by the limit of novelty. A batch whose every photo lies a little farther off than usual stays
below it, and is a new look all the same: another module, another batch of material, a lamp that has aged.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from qc_lightning.core.atomic import read_json
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run

LEAST = 20  # photos of a batch, and groups of the training: fewer say nothing
_QUANTILE = 0.97


def batch_limit(distances: npt.NDArray[np.float64], groups: Sequence[str]) -> float | None:
    """The median distance that 3% of the training groups lie above; None with fewer than 20 groups.

    Args:
        distances: float [n], of training photos, each measured without its own group.
        groups: the group of each.
    """
    place = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)[1]
    medians = [float(np.median(distances[place == number])) for number in range(place.max() + 1)]
    return float(np.quantile(medians, _QUANTILE)) if len(medians) >= LEAST else None


def unlike_training(run: Run, distances: Iterable[float | None]) -> str:
    """A warning in one sentence where a batch is unlike all training photos; empty where it is not, or nobody knows.

    Args:
        run: that measured them.
        distances: how unlike the training photos each photo is; None where it is not measured.
    """
    measured = [distance for distance in distances if distance is not None]
    try:
        limit = read_json(run.metrics)["novelty"]["batch_limit"]
    except (UserError, KeyError, TypeError, ValueError):  # an earlier release, or novelty is not measured
        return ""
    if limit is None or len(measured) < LEAST or not float(np.median(measured)) > limit:
        return ""
    return (
        f"These {len(measured):,} photos are, taken together, unlike the training photos (median novelty "
        f"{np.median(measured):.3g}, above {limit:.3g}, which 97% of the training's groups lie below): figures of the "
        "run may not hold for them. Look at some, and train with photos like these."
    )
