"""Find doubtful labels by the out-of-fold probabilities of a model."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qc_lightning.auditing.out_of_fold import Floats
from qc_lightning.data.checks.duplicates import Copies, join_copies
from qc_lightning.data.checks.findings import Check, Finding, counted
from qc_lightning.data.photo import Photo

_SURE = 0.9  # probability of the other class from which a label is doubtful


def held_together(photos: Sequence[Photo], copies: Sequence[Copies]) -> list[Photo]:
    """The photos with the groups to hold out together, so that wrong labels can be detected.

    A group with one label stays together: a wrong label of a part is wrong on each of its photos. A group with both
    labels (a module of many cells, a day) is split, since its other photos are the best evidence of a wrong label;
    only copies of a picture stay together, unless they have both labels.

    Args:
        photos: photos with their groups.
        copies: pairs of copies.
    """
    pictures, _ = join_copies([photo.name for photo in photos], copies, near=True)
    kept = list(photos)
    for finer in (pictures, [photo.name for photo in photos]):
        labels = defaultdict(set)
        for photo in kept:
            labels[photo.group].add(photo.label)
        kept = [
            replace(photo, group=group) if len(labels[photo.group]) > 1 else photo
            for photo, group in zip(kept, finer, strict=True)
        ]
    return kept


def check_labels(photos: Sequence[Photo], probability: Floats) -> Check:
    """Photos that look like the other class, the most certain first; a finding's value is its probability."""
    label = np.array([photo.label for photo in photos])
    other = np.where(label == 1, 1 - probability, probability)
    order = [int(index) for index in np.argsort(-other, kind="stable") if other[index] >= 0.5]
    findings = [Finding(photos[index].name, "", round(float(other[index]), 4)) for index in order]
    sure = sum(finding.value >= _SURE for finding in findings if finding.value is not None)
    count = counted(len(findings), "photo", "looks", "look")
    text = (
        f"{count} more like the other class to a model that has not seen them, {sure} of them with a probability of at "
        f"least {_SURE:g}: check these labels, the first ones first."
        if findings
        else "no photo looks more like the other class."
    )
    return Check("label_errors", sure > 0, text, findings=findings)
