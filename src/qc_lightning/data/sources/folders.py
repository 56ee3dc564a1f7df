"""Photos by folder: one per class, or one per subset with one per class in each."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from qc_lightning.config import ClassNames
from qc_lightning.core.errors import UserError
from qc_lightning.core.suggestions import nearest
from qc_lightning.data.decoding.decode import IMAGE_SUFFIXES
from qc_lightning.data.photo import SUBSETS, TRAINS_WITHOUT, Catalog, Photo, group_of
from qc_lightning.data.sources.walk import Walk, in_words

_SUBSET_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SUBSET_NAMES |= {"dev": "val", "test": "test", "testing": "test"}
_MASKS = ("masks", "mask", "ground_truth")  # masks of defects for `explain`, not photos


def read_folders(
    root: Path, classes: ClassNames, group: str, one_class: bool = False, good_only: bool = False
) -> Catalog:
    """List the photos of one folder per class, in subsets if there are folders train/, val/ and test/ above them.

    Args:
        root: the folder.
        classes: names of the folders of the classes.
        group: the rule by which photos share a group.
        one_class: whether a folder for one of the classes is enough, as for a day of rejects to evaluate on.
        good_only: whether the folder of Incorrect photos may be missing or empty, as for a training on good photos.
            Then there must be no photos but the Correct ones: a misspelt folder is not taken for no bad photos.

    Raises:
        UserError: a folder is missing, cannot be read, or has no photos; or there are photos of no class beside the
            Correct ones alone.
    """
    if not root.is_dir():
        wanted = f"{classes.correct}/ and {classes.incorrect}/"
        raise UserError(f"data.root: expected a folder with {wanted} in it, there is no folder {root}")
    folders = _folders(root)
    subsets = {folder: subset for folder in folders if (subset := _SUBSET_NAMES.get(folder.lower()))}
    if "train" not in subsets.values() or set(classes.names) & set(folders):
        return _scan_classes(root, "", classes, group, None, one_class, good_only)
    for subset in SUBSETS:
        if len(same := [folder for folder, name in subsets.items() if name == subset]) > 1:
            raise UserError(
                f"data.root: expected one {subset} folder in {root}, there are {' and '.join(same)}: join them"
            )
    photos, notes = [], _third_folders(root, [*subsets, *_MASKS], "is no subset (train, val, test)")
    for folder, subset in subsets.items():
        catalog = _scan_classes(root, f"{folder}/", classes, group, subset, one_class, good_only)
        photos += catalog.photos
        notes += catalog.notes
    return Catalog(photos, notes)


def _folders(base: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"data.root: cannot read the folder {base}: {error.strerror}") from error


def _scan_classes(
    root: Path, prefix: str, classes: ClassNames, group: str, subset: str | None, one_class: bool, good_only: bool
) -> Catalog:
    base = root / prefix
    folders = _folders(base)
    photos: list[Photo] = []
    unread: list[tuple[str, str]] = []
    passed_over: Counter[str] = Counter()
    _refuse_neither(base, folders, classes)
    for label, class_name in enumerate(classes.names):
        key = f"data.classes.{'incorrect' if label else 'correct'}"
        if class_name not in folders:
            if one_class and set(classes.names) & set(folders):
                continue
            if good_only and label == 1:
                _refuse_others(base, classes)
                continue
            others = [folder for folder in folders if folder not in classes.names]
            hint = nearest(class_name, others)
            hint = hint or f" ({_there_is(folders)})"
            without = f"; {TRAINS_WITHOUT}" if label == 1 and not others else ""
            raise UserError(
                f"expected a folder '{class_name}' in {base}{hint}: rename it or set {key}=<its name>{without}"
            )
        walk = Walk(base / class_name, home=root)
        names = [f"{prefix}{class_name}/{name}" for name in walk.photos()]
        unread += [(f"{prefix}{class_name}/{name}", reason) for name, reason in walk.unread]
        passed_over += walk.passed_over
        if not names and good_only and label == 1 and not walk.unread and not walk.passed_over:
            _refuse_others(base, classes)
            continue
        if not names:
            left_out = in_words(walk.unread) or ", ".join(sorted(IMAGE_SUFFIXES))
            raise UserError(f"expected photos in {base / class_name}, found none ({left_out})")
        photos += [
            Photo(root / name, name, label, group_of(name.removeprefix(prefix), group), subset) for name in names
        ]
    notes = [f"Left out: {what}: {count}." for what, count in sorted(passed_over.items())]
    notes += [note] if (note := in_words(unread)) else []
    return Catalog(photos, notes + _third_folders(base, [*classes.names, *_MASKS], "is neither class"))


def _refuse_neither(base: Path, folders: Sequence[str], classes: ClassNames) -> None:
    """Refuse a folder without any of the two classes; names both, so that one message is enough."""
    if set(classes.names) & set(folders):
        return
    correct, incorrect = classes.names
    mistake = f"expected folders '{correct}' and '{incorrect}' in {base} ({_there_is(folders)}): "
    if base.resolve().name in classes.names:
        raise UserError(
            f"{mistake}this is the folder of one class; give the folder that holds both, {base.resolve().parent}"
        )
    raise UserError(f"{mistake}rename yours, or set data.classes.correct=<its name> data.classes.incorrect=<its name>")


def _there_is(folders: Sequence[str]) -> str:
    """What a folder without the expected ones holds: at most five names, and how many more."""
    more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
    return f"there is: {', '.join(folders[:5]) or 'no folder at all'}{more}"


def _refuse_others(base: Path, classes: ClassNames) -> None:
    """Refuse photos of no class where there are none of Incorrect parts: they may be those, under another name."""
    for folder, count in _count_others(base, [*classes.names, *_MASKS]).items():
        rename = f"rename it, set data.classes.incorrect={folder}," if folder else "move them into a class's folder"
        raise UserError(
            f"expected photos in {base / classes.incorrect}, found none, but {count} in {base / folder}"
            f"{', which is neither class' if folder else ' itself'}: {rename} or move "
            f"{'it' if folder else 'them'} elsewhere to train on {classes.correct} photos alone"
        )


def _count_others(base: Path, expected: Sequence[str]) -> dict[str, int]:
    """Number of photos by folder below the base, without the known folders; photos outside any folder under ""."""
    walk = Walk(base, [base / name for name in expected])
    names = [*walk.photos(), *(name for name, _ in walk.unread)]
    return dict(sorted(Counter(name.split("/")[0] if "/" in name else "" for name in names).items()))


def _third_folders(base: Path, expected: Sequence[str], what: str) -> list[str]:
    """Photos in folders that the training ignores, and photos outside the folders."""
    notes = []
    for folder, count in _count_others(base, expected).items():
        place = f"{base / folder}, which {what}" if folder else f"{base} itself, beside the folders"
        notes.append(f"Photos left out: {count} in {place}.")
    return notes
