"""Split the photos into train, val and test: stratified, groups kept together, the same on every machine."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from qc_lightning.config import SplitConfig
from qc_lightning.core.errors import UserError
from qc_lightning.data.photo import TRAINS_WITHOUT, Photo


def split(
    photos: Sequence[Photo],
    config: SplitConfig,
    names: tuple[str, str] = ("Correct", "Incorrect"),
    good_only: bool = False,
) -> list[str]:
    """Return the subset of each photo: train, val or test.

    Subsets fixed by the catalog are kept. A missing test part is taken from all other photos, then a missing validation
    part from the training photos, by fraction or as a cross-validation fold. Photos of one group always share a subset.
    Groups are visited in the order of a hash of seed and group, so the result depends neither on the directory's order
    nor on the random generator of a library version. A photo without a group is its own group.

    Args:
        photos: the photos to split.
        config: the sizes of the parts.
        names: the user's names for the two classes.
        good_only: accept subsets without Incorrect photos if there are none to train on.

    Raises:
        UserError: a subset that the run needs would lack one of the classes.
    """
    good_only = good_only and not any(photo.label == 1 and photo.subset in (None, "train") for photo in photos)
    subsets = [photo.subset or "train" for photo in photos]
    fixed = {photo.subset for photo in photos} - {None}
    if "test" not in fixed:
        _carve(photos, subsets, "test", config.test, config.seed)
    if config.fold is not None:
        if "val" in fixed:
            raise UserError(f"data.split.fold={config.fold}: these photos come with a validation part; leave it out")
        _hold_out(photos, subsets, config, config.fold)
    elif "val" not in fixed and config.val > 0:
        _carve(photos, subsets, "val", config.val, config.seed)
    for subset in ("train", "test", *(["val"] if config.val > 0 or config.fold is not None or "val" in fixed else [])):
        counts = Counter(photo.label for photo, name in zip(photos, subsets, strict=True) if name == subset)
        for label, name in enumerate(names):
            if counts[label] == 0 and not (good_only and label == 1):
                total = sum(photo.label == label for photo in photos)
                raise UserError(
                    f"the {subset} part gets no {name} photo out of {total} in all: add photos of that class"
                    f"{', use smaller groups' if _grouped(photos) else ''}"
                    f"{' or set data.split.val=0' if subset == 'val' else ''}"
                    f"{f'; {TRAINS_WITHOUT}' if label == 1 and total == 0 else ''}"
                )
    return subsets


def folds(photos: Sequence[Photo], count: int, seed: int | str) -> list[int]:
    """Return the cross-validation fold of each photo, 0 to at most `count` - 1: stratified by group, seeded.

    Returns fewer folds if a class has fewer groups, and a single fold 0 if cross-validation is impossible. A class
    without photos is ignored.
    """
    labels = {photo.label for photo in photos}
    groups = [len({photo.group for photo in photos if photo.label == label}) for label in labels]
    for wanted in range(min(count, *groups), 1, -1):
        fold = ["train"] * len(photos)
        for number in range(wanted - 1):
            _carve(photos, fold, str(number), 1 / (wanted - number), seed)
        numbers = [wanted - 1 if name == "train" else int(name) for name in fold]
        held = {(photo.label, number) for photo, number in zip(photos, numbers, strict=True)}
        if all(sum((label, number) in held for number in range(wanted)) >= 2 for label in labels):
            return numbers
    return [0] * len(photos)


def _hold_out(photos: Sequence[Photo], subsets: list[str], config: SplitConfig, fold: int) -> None:
    """Make one fold of the training photos the validation part; every `folds` folds the assignment is redrawn."""
    train = [index for index, subset in enumerate(subsets) if subset == "train"]
    dealing, number = divmod(fold, config.folds)
    dealt = folds([photos[index] for index in train], config.folds, f"{config.seed}.{dealing}")
    if max(dealt) + 1 < config.folds:
        raise UserError(
            f"data.split.folds: expected at most {max(dealt) + 1}, as one class lies in so few groups, "
            f"got {config.folds}"
        )
    for index, fold_of_photo in zip(train, dealt, strict=True):
        if fold_of_photo == number:
            subsets[index] = "val"


def _grouped(photos: Sequence[Photo]) -> bool:
    return len({photo.group for photo in photos}) < len(photos)


def _carve(photos: Sequence[Photo], subsets: list[str], part: str, fraction: float, seed: int | str) -> None:
    """Move about `fraction` of each class from train to `part`, group by group."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, (photo, subset) in enumerate(zip(photos, subsets, strict=True)):
        if subset == "train":
            groups[photo.group].append(index)
    held = Counter(photos[index].label for members in groups.values() for index in members)
    missing = {label: round(fraction * count) for label, count in held.items()}
    for group in _order(groups, seed, part):
        members = Counter(photos[index].label for index in groups[group])
        # move a group if this brings the subset closer to its target size in each class, relative to the class
        gain = sum(
            (abs(missing[label]) - abs(missing[label] - count)) / held[label] for label, count in members.items()
        )
        if gain > 0:
            for label, count in members.items():
                missing[label] -= count
            for index in groups[group]:
                subsets[index] = part


def _order(groups: Iterable[str], seed: int | str, part: str) -> list[str]:
    return sorted(groups, key=lambda group: hashlib.sha256(f"{seed}/{part}/{group}".encode()).digest())
