"""Select and order the photos to explain, and find the masks of their defects."""

from dataclasses import dataclass
from pathlib import Path

from qc_lightning.config import ExplainConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.photo import Photo
from qc_lightning.evaluation.evaluation_set import own_photos, trained_with
from qc_lightning.evaluation.score import score
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.sources import find_photos
from qc_lightning.metrics.decision import probabilities
from qc_lightning.metrics.verdict import worst_first


@dataclass(frozen=True)
class Subject:
    """A photo to explain.

    Attributes:
        path: the file.
        label: 0 for Correct, 1 for Incorrect, None if unknown.
        mask: PNG of its defect, as large as the photo, above 127 on the defect; None if there is none.
        camera: the camera that took the photo, empty if unknown.
    """

    path: Path
    label: int | None
    mask: Path | None
    camera: str = ""


def select_images(run: Run, inspector: Inspector, config: ExplainConfig) -> list[Subject]:
    """The photos selected by `config`; a run's own photos are sorted by error, the largest first.

    Raises:
        UserError: there are none, they have changed, or `masks` is not a folder.
    """
    masks = Path(config.masks).expanduser() if config.masks else None
    if masks is not None and not masks.is_dir():
        raise UserError(f"masks: expected a folder of <photo's stem>.png, there is none at {masks}")
    if config.source is not None:
        source = find_photos(config.source, [Path(config.output or "explanations").absolute()])
        return [Subject(photo.path, None, None, photo.camera) for photo in source.photos()[: config.photos]]
    scored = score(inspector, own_photos(run, config.subset), trained_with(run).batch_size)
    probability = probabilities(scored.logit)
    label = [photo.label for photo in scored.photos]
    verdicts = inspector.decision.verdicts(probability, scored.novelty)
    ranked = [scored.photos[i] for i in worst_first(verdicts, probability, label)]
    return [Subject(photo.path, photo.label, _mask(photo, masks), photo.camera) for photo in ranked[: config.photos]]


def _mask(photo: Photo, masks: Path | None) -> Path | None:
    if photo.label != 1:
        return None
    folders = [masks] if masks else [parent / "masks" for parent in list(photo.path.parents)[1:2]]
    return next((path for folder in folders if (path := folder / f"{photo.path.stem}.png").is_file()), None)
