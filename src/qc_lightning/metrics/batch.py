"""Detect batches of photos that as a group are unlike all training photos: the run's metrics do not apply to them.

Single photos are checked against the limit of novelty. A batch of photos that are all slightly farther than usual
stays below it but is still different: another module, another batch of material, an aged lamp.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from qc_lightning.core.atomic import read_json
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run

LEAST = 20  # photos of a batch, and training groups: with fewer there is no check
_QUANTILE = 0.97


def batch_limit(distances: npt.NDArray[np.float64], groups: Sequence[str]) -> float | None:
    """The median distance exceeded by 3% of the training groups; None with fewer than 20 groups.

    Args:
        distances: float [n], novelty of training photos, each measured without its own group.
        groups: the group of each.
    """
    place = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)[1]
    medians = [float(np.median(distances[place == number])) for number in range(place.max() + 1)]
    return float(np.quantile(medians, _QUANTILE)) if len(medians) >= LEAST else None


def unlike_training(run: Run, distances: Iterable[float | None]) -> str:
    """Return a one-sentence warning if a batch is unlike all training photos; empty if it is not, or is unknown.

    Args:
        run: the run that measured them.
        distances: novelty of each photo; None if not measured.
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
