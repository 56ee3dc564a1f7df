"""Checks of every dataset before its split: copies, and shortcuts to the class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from qc_lightning.config import DataConfig
from qc_lightning.core.errors import UserError
from qc_lightning.data.checks.appearance import Appearance, measure_appearance
from qc_lightning.data.checks.duplicates import Copies, find_copies, identical_files, join_copies
from qc_lightning.data.checks.file_facts import FileFacts, read_file_facts
from qc_lightning.data.checks.findings import Check, Finding, counted
from qc_lightning.data.checks.shortcuts import check_shortcuts
from qc_lightning.data.photo import Photo
from qc_lightning.data.pixels.pixel_store import PixelStore

_MOST_LOOKALIKES = 200  # pairs
_NAMES = {"bytes": "copies_bytes", "pixels": "copies_pixels", "alike": "near_duplicates"}


@dataclass(frozen=True)
class CheckedPhotos:
    """Photos after the checks, with the measurements.

    Attributes:
        photos: the photos, copies of each other in one group.
        checks: every check with its result.
        copies: pairs of photos that are one picture.
        appearance: of the photos.
        facts: of their files.
    """

    photos: list[Photo]
    checks: list[Check]
    copies: list[Copies]
    appearance: Appearance
    facts: list[FileFacts]


def check_photos(
    photos: Sequence[Photo],
    positions: npt.NDArray[np.int64],
    store: PixelStore,
    config: DataConfig,
    progress: bool = True,
) -> CheckedPhotos:
    """Search for copies and shortcuts, and group copies according to `data.near_duplicates`.

    Args:
        photos: readable photos, with sha256.
        positions: int64 [n], their rows in the store.
        store: their pixels.
        config: of the photos.
        progress: whether to show a bar when it takes long.

    Raises:
        UserError: there are near-duplicates in different groups, and `data.near_duplicates=error`.
    """
    measured = _measured.get(store)
    if measured is None:
        measured = measure_appearance(store, positions, progress), read_file_facts([photo.path for photo in photos])
        _measured[store] = measured
    appearance, facts = measured
    names = [f"{photo.label} {photo.group}" for photo in photos]
    unit = np.unique(names, return_inverse=True)[1].astype(np.int64)
    copies, lookalikes = find_copies(
        [photo.sha256 or "" for photo in photos], appearance, store, positions, unit, progress
    )
    if config.near_duplicates == "error":
        _refuse_near_duplicates(photos, copies)
    groups, chained = join_copies([photo.group for photo in photos], copies, config.near_duplicates == "group")
    joined = [replace(photo, group=group) for photo, group in zip(photos, groups, strict=True)]
    checks = _copy_checks(joined, copies, chained, config.near_duplicates)
    checks.append(_lookalike_check(joined, lookalikes))
    checks += check_shortcuts(joined, appearance, facts, config.classes.names)
    return CheckedPhotos(joined, checks, copies, appearance, facts)


# by store: the jobs of a sweep share one
_measured: WeakKeyDictionary[PixelStore, tuple[Appearance, list[FileFacts]]] = WeakKeyDictionary()


def join_identical(photos: Sequence[Photo]) -> tuple[list[Photo], list[str]]:
    """Put photos with identical files into one group; also return notes on them."""
    copies = identical_files([photo.sha256 or "" for photo in photos])
    groups, _ = join_copies([photo.group for photo in photos], copies, near=False)
    joined = [replace(photo, group=group) for photo, group in zip(photos, groups, strict=True)]
    return joined, [check.text for check in _copy_checks(joined, copies, [], "warn") if check.flagged]


def copies_across_subsets(photos: Sequence[Photo], copies: Sequence[Copies]) -> Check:
    """Copies in different subsets, if the user fixed the subsets or only wanted near-duplicates reported."""
    if all(photo.subset is None for photo in photos):
        return Check.not_made("copies_across_subsets", "neither folders nor a manifest split these photos.")
    torn = [pair for pair in copies if photos[pair.first].subset != photos[pair.second].subset]
    count = counted(len(torn), "photo", "is a copy of one", "are copies of photos")
    text = (
        f"{count} in another subset, for example {_example(photos, torn[0])}: the test figures are too good."
        if torn
        else "no photo is a copy of one in another subset."
    )
    return Check("copies_across_subsets", bool(torn), text, findings=_findings(photos, torn), pairs=True)


def _refuse_near_duplicates(photos: Sequence[Photo], copies: Sequence[Copies]) -> None:
    near = [pair for pair in copies if pair.kind == "alike" and photos[pair.first].group != photos[pair.second].group]
    if near:
        raise UserError(
            f"data.near_duplicates=error: expected no near-duplicates in different groups, got {len(near)}, for "
            f"example {_example(photos, near[0])}: leave copies out, give them one group, or set "
            "data.near_duplicates=group"
        )


def _copy_checks(
    photos: Sequence[Photo], copies: Sequence[Copies], chained: Sequence[Copies], near_duplicates: str
) -> list[Check]:
    return [
        *_checks_by_kind(photos, copies, near_duplicates),
        _both_labels_check(photos, copies),
        _chain_check(photos, chained),
    ]


def _checks_by_kind(photos: Sequence[Photo], copies: Sequence[Copies], near_duplicates: str) -> list[Check]:
    by_kind = {kind: [pair for pair in copies if pair.kind == kind] for kind in _NAMES}
    near = {
        "group": "they stay on one side of the split",
        "warn": "data.near_duplicates=warn leaves them where the split puts them",
    }.get(near_duplicates, "they share a group")
    count = {kind: len(pairs) for kind, pairs in by_kind.items()}
    others = counted(count["bytes"], "photo", "is a copy of another", "are copies of others")
    stay = "; copies stay on one side of the split"
    example = f", for example {_example(photos, by_kind['alike'][0])}" if by_kind["alike"] else ""
    words = {
        "bytes": f"{others} byte for byte{stay}",
        "pixels": f"{counted(count['pixels'], 'photo', 'has', 'have')} the same pixels as another file{stay}",
        "alike": f"{counted(count['alike'], 'pair of photos')} near-duplicates{example}: one picture "
        f"saved again, or parts that look exactly alike; {near}",
    }
    none = {
        "bytes": "no photo is a copy of another byte for byte",
        "pixels": "no photo has the same pixels as another file",
        "alike": "no photos are near-duplicates",
    }
    texts = {kind: f"{words[kind] if pairs else none[kind]}." for kind, pairs in by_kind.items()}
    return [
        Check(_NAMES[kind], bool(pairs), texts[kind], findings=_findings(photos, pairs), pairs=True)
        for kind, pairs in by_kind.items()
    ]


def _both_labels_check(photos: Sequence[Photo], copies: Sequence[Copies]) -> Check:
    torn = [pair for pair in copies if photos[pair.first].label != photos[pair.second].label]
    both = counted(len(torn), "pair of copies", "has", "have")
    sure = sum(pair.kind != "alike" for pair in torn)
    torn.sort(key=lambda pair: pair.kind == "alike")
    cause = "" if sure else ", unless they show two parts that look exactly alike"
    text = (
        f"{both} one photo in each class, for example {_example(photos, torn[0])}: one of the labels is wrong{cause}."
        if torn
        else "no photo has a copy in the other class."
    )
    return Check("copies_both_labels", bool(torn), text, findings=_findings(photos, torn), pairs=True)


def _chain_check(photos: Sequence[Photo], chained: Sequence[Copies]) -> Check:
    alike = counted(len(chained), "pair of photos", "looks", "look")
    text = (
        f"{alike} alike but would chain many parts into one group, so they were not grouped: say with data.group or a "
        "manifest which photos show one part."
        if chained
        else "no chain of photos that look alike was cut."
    )
    return Check("alike_chains", bool(chained), text, findings=_findings(photos, chained), pairs=True)


def _lookalike_check(photos: Sequence[Photo], lookalikes: Sequence[Copies]) -> Check:
    """Never flagged: similar parts look alike. Pairs with a photo in each class come first."""
    pairs = [pair for pair in lookalikes if photos[pair.first].group != photos[pair.second].group]
    pairs = sorted(pairs, key=lambda pair: photos[pair.first].label == photos[pair.second].label)[:_MOST_LOOKALIKES]
    torn = sum(photos[pair.first].label != photos[pair.second].label for pair in pairs)
    text = (
        f"{counted(len(pairs), 'pair of photos', 'looks', 'look')} alike, but not as copies do; of these, "
        f"{counted(torn, 'pair', 'has', 'have')} a photo in each class. If two show one part, give them one group."
        if pairs
        else "no other photos look so alike that they may be one part."
    )
    return Check("lookalikes", False, text, findings=_findings(photos, pairs), pairs=True)


def _findings(photos: Sequence[Photo], pairs: Sequence[Copies]) -> list[Finding]:
    return [Finding(photos[pair.first].name, photos[pair.second].name, round(pair.distance, 6)) for pair in pairs]


def _example(photos: Sequence[Photo], pair: Copies) -> str:
    return f"{photos[pair.first].name} and {photos[pair.second].name}"
