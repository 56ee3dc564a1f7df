"""Compute the drift reference of a run's photos with the exported model, to be stored in it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qc_lightning.core.bars import Progress
from qc_lightning.data.photo import Photo
from qc_lightning.inference.drift import Reference, critical_value
from qc_lightning.inference.export_metadata import FEATURES, LOGIT, NOVELTY
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspection import CameraPhoto, decode_photo
from qc_lightning.inference.measures import PIXEL_STATISTICS, Components, Floats, of_pixels, small_picture

_FEWEST = 20  # fewest photos of either kind for a reference
_MOST = 1000  # most photos of either kind
_COMPONENTS = 8


class Measured(NamedTuple):
    """A photo with its pixel statistics and the network's outputs: logit, novelty if measured, features [F]."""

    photo: Photo
    pixels: tuple[float, ...]
    logit: float
    novelty: float | None
    features: npt.NDArray[np.float32]


def drift_reference(inspector: ExportedInspector, photos: Sequence[Photo]) -> Reference | None:
    """Measure a run's photos.

    The network's outputs are referenced on photos that it was not trained on, along principal components of its
    training photos: on the same photos, both would differ from those of new photos. Pixel statistics use all photos.

    Args:
        inspector: the export.
        photos: photos of the run, each with its subset. Unreadable photos are left out.

    Returns:
        None if there are fewer than 20 training photos or fewer than 20 others.
    """
    trained = _spread([photo for photo in photos if photo.subset == "train"])
    others = _spread([photo for photo in photos if photo.subset != "train"])
    bar = Progress([*trained, *others], "measuring for drift", len(trained) + len(others), unit="photo", delay=1.0)
    return reference_of(measured(inspector, bar), inspector)


def reference_of(
    own: Sequence[Measured], inspector: ExportedInspector, components: Components | None = None
) -> Reference | None:
    """The reference from measured photos; arguments and result as for `drift_reference`.

    Args:
        own: photos of the run.
        inspector: the export.
        components: of the training photos among them; None: they are fitted.
    """
    new = np.array([one.photo.subset != "train" for one in own])
    if min(new.sum(), (~new).sum()) < _FEWEST:
        return None
    has_features, has_novelty = FEATURES in inspector.outputs, NOVELTY in inspector.outputs
    seen = np.stack([one.features for one in own])
    components = components or Components.fit(seen[~new].astype(np.float64), _COMPONENTS)
    logit = np.array([one.logit for one in own])
    columns = [*np.array([one.pixels for one in own]).T, logit]
    columns += [np.array([one.novelty for one in own])] if has_novelty else []
    columns += [*components.project(seen).T]
    rejected = 1 / (1 + np.exp(-logit)) >= inspector.decision.threshold
    groups = np.array([one.photo.group for one in own])
    everything = np.ones(len(own), bool)
    among = [everything if place < len(PIXEL_STATISTICS) else new for place in range(len(columns))]
    sides = [_sides(column, groups, rejected, taken) for column, taken in zip(columns, among, strict=True)]
    return Reference(components, has_features, has_novelty, sides, critical_value(len(columns)))


def measured(inspector: ExportedInspector, photos: Iterable[Photo]) -> list[Measured]:
    """Measure each readable photo with the export."""
    results = []
    for photo in photos:
        pixels = decode_photo(CameraPhoto.of(photo), inspector.decode).pixels
        if pixels is not None:
            results.append(measure(inspector, photo, pixels))
    return results


def measure(inspector: ExportedInspector, photo: Photo, pixels: npt.NDArray[np.uint8]) -> Measured:
    """Measure one photo, decoded to uint8 [3, H, W]."""
    names = [LOGIT, *(name for name in (NOVELTY, FEATURES) if name in inspector.outputs)]
    out = dict(zip(names, inspector.run(pixels[None], *names), strict=True))
    features = out[FEATURES][0] if FEATURES in out else small_picture(pixels)
    novelty = float(out[NOVELTY][0]) if NOVELTY in out else None
    return Measured(photo, of_pixels(pixels), float(out[LOGIT][0]), novelty, features)


def _sides(
    column: Floats, groups: npt.NDArray[np.str_], rejected: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]
) -> tuple[tuple[Floats, int], tuple[Floats, int]]:
    """Sorted values and number of parts of passed and of rejected photos; of all photos if a side has too few."""
    sides = []
    for side in (~rejected & among, rejected & among):
        taken = side if side.sum() >= 2 else among
        sides.append((np.sort(column[taken]), len(np.unique(groups[taken]))))
    return sides[0], sides[1]


def _spread(photos: list[Photo]) -> list[Photo]:
    """At most `_MOST` photos, evenly spaced."""
    places = np.unique(np.linspace(0, len(photos) - 1, min(len(photos), _MOST)).round().astype(int))
    return [photos[place] for place in places] if photos else []
