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

    If there are more than `photos`, those with a mask in `masks` are preferred.

    Raises:
        UserError: there are none, they have changed, or `masks` is not a folder or has a mask of none of them.
    """
    masks = Path(config.masks).expanduser() if config.masks else None
    if masks is not None and not masks.is_dir():
        raise UserError(f"masks: expected a folder of <photo's stem>.png, there is none at {masks}")
    if config.source is None:
        own = _worst_first(run, inspector, config)
        of = [_mask(one.path, masks or _beside(one.path)) if one.label else None for one in own]
        subjects = [Subject(one.path, one.label, mask, one.camera) for one, mask in zip(own, of, strict=True)]
    else:
        skip = [Path(config.output or "explanations"), *([masks] if masks else [])]
        source = find_photos(config.source, [folder.absolute() for folder in skip])
        subjects = [
            Subject(one.path, None, _mask(one.path, masks) if masks else None, one.camera) for one in source.photos()
        ]
    if masks is not None and not any(subject.mask for subject in subjects):
        raise UserError(f"masks: expected <photo's stem>.png of a photo, {masks} has none of these {len(subjects)}")
    return _at_most(config.photos, subjects, prefer_masks=masks is not None)


def _at_most(count: int | None, subjects: list[Subject], prefer_masks: bool) -> list[Subject]:
    """The first photos, those with a mask before others if they are preferred, in their order; None: all."""
    if prefer_masks:
        preferred = sorted(range(len(subjects)), key=lambda place: subjects[place].mask is None)
        return [subjects[place] for place in sorted(preferred[:count])]
    return subjects[:count]


def _worst_first(run: Run, inspector: Inspector, config: ExplainConfig) -> list[Photo]:
    scored = score(inspector, own_photos(run, config.subset), trained_with(run).batch_size)
    probability = probabilities(scored.logit)
    label = [photo.label for photo in scored.photos]
    verdicts = inspector.decision.verdicts(probability, scored.novelty)
    return [scored.photos[i] for i in worst_first(verdicts, probability, label)]


def _beside(photo: Path) -> Path:
    """The folder of masks beside the class folders."""
    return photo.parent.parent / "masks"


def _mask(photo: Path, masks: Path) -> Path | None:
    mask = masks / f"{photo.stem}.png"
    return mask if mask.is_file() else None
