"""Which photos are explained, in which order, and the masks of their defects."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qc_lightning.config import ExplainConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.photo import Photo
from qc_lightning.evaluation.evaluation_set import own_photos, trained_with
from qc_lightning.evaluation.score import score
from qc_lightning.inference.inspector import Inspector, probabilities
from qc_lightning.inference.sources import find_photos


@dataclass(frozen=True)
class Subject:
    """A photo to explain.

    Attributes:
        path: the file.
        label: 0 for Correct, 1 for Incorrect, None when nobody has said.
        mask: PNG of its defect, as large as the photo, above 127 on the defect; None when there is none.
    """

    path: Path
    label: int | None
    mask: Path | None


def select_images(run: Run, inspector: Inspector, config: ExplainConfig) -> list[Subject]:
    """The photos that `config` names; of a run's own, mistakes first, the worst of them at the head.

    Raises:
        UserError: there are none, they are not what they were, or `masks` is no folder.
    """
    masks = Path(config.masks).expanduser() if config.masks else None
    if masks is not None and not masks.is_dir():
        raise UserError(f"masks: expected a folder of <photo's stem>.png, there is none at {masks}")
    if config.source is not None:
        source = find_photos(config.source, [Path(config.output or "explanations").absolute()])
        return [Subject(source.root / name, None, None) for name in source.names[: config.photos]]
    scored = score(inspector, own_photos(run, config.subset), trained_with(run).batch_size)
    probability = probabilities(scored.logit)
    ranked = _worst_first(scored.photos, probability, inspector)
    return [Subject(photo.path, photo.label, _mask(photo, masks)) for photo in ranked[: config.photos]]


def _worst_first(photos: list[Photo], probability: npt.NDArray[np.float64], inspector: Inspector) -> list[Photo]:
    """Escapes, overkills, then the photos judged rightly, defects first; of each the surest verdict first."""
    rejects = inspector.decision.rejects(probability)
    label = np.array([photo.label for photo in photos])
    kind = np.where(rejects == (label == 1), 3 - label, 1 - label)  # 0 escape, 1 overkill, 2 caught, 3 passed
    sureness = np.where(rejects, probability, 1 - probability)
    return [photos[i] for i in np.lexsort((-sureness, kind))]


def _mask(photo: Photo, masks: Path | None) -> Path | None:
    if photo.label != 1:
        return None
    folders = [masks] if masks else [parent / "masks" for parent in list(photo.path.parents)[1:2]]
    return next((path for folder in folders if (path := folder / f"{photo.path.stem}.png").is_file()), None)
