"""Checks for unnamed groups: guesses from file names, bursts, and groups across a given split."""

import datetime
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np

from qc_lightning.data.checks.file_facts import FileFacts
from qc_lightning.data.checks.findings import Check, Finding, counted
from qc_lightning.data.photo import Photo, group_of

_BURST = 2.0  # seconds between two photos of one burst, at most
_TIME = re.compile(r"(?<!\d)(20\d\d)[-_]?(\d\d)[-_]?(\d\d)[-_T ]?(\d\d)[-_.]?(\d\d)[-_.]?(\d\d)(?!\d)")
_VIEWS = 20  # photos of one part, at most, for a guess


def check_groups(photos: Sequence[Photo], facts: Sequence[FileFacts], rule: str) -> list[Check]:
    """Look for groups that the user has not named.

    Args:
        photos: with the groups that they have.
        facts: of their files.
        rule: `data.group`.
    """
    guess = _guess(photos) if rule == "none" else Check("group_guess", False, f"groups are given (data.group={rule}).")
    return [guess, _bursts(photos, facts)]


def groups_across_subsets(photos: Sequence[Photo]) -> Check:
    """Look for groups with photos in several subsets of a split that the user fixed."""
    subsets: dict[str, set[str]] = defaultdict(set)
    for photo in photos:
        if photo.subset is not None:
            subsets[photo.group].add(photo.subset)
    torn = {group for group, names in subsets.items() if len(names) > 1}
    if torn:
        findings = [Finding(photo.name, photo.group) for photo in photos if photo.group in torn]
        text = f"{counted(len(torn), 'group', 'has', 'have')} photos in several parts of the given split, for example "
        text += f"{min(torn)}: the test figures are too good."
        return Check("groups_across_subsets", True, text, findings=findings)
    if not subsets:
        return Check.not_made("groups_across_subsets", "neither folders nor a manifest split these photos.")
    if len({photo.group for photo in photos}) == len(photos):
        return Check.not_made("groups_across_subsets", "no photo shares a group with another one.")
    return Check("groups_across_subsets", False, "no group has photos in several parts of the given split.")


def _guess(photos: Sequence[Photo]) -> Check:
    for rule in ("prefix", "folder"):
        members = defaultdict(list)
        for photo in photos:
            members[_key(photo, rule)].append(photo.name)
        several = {key: names for key, names in members.items() if len(names) > 1}
        sizes = [len(names) for names in several.values()]
        if len(several) < 5 or sum(sizes) < len(photos) / 2 or max(sizes) > _VIEWS:
            continue
        example = next(iter(several.values()))
        text = (
            f"names look like {'part_view' if rule == 'prefix' else 'part/view'}: {len(several)} groups of "
            f"{min(sizes)} to {max(sizes)}, for example {' and '.join(example[:2])}; if each shows one part, use "
            f"data.group={rule}."
        )
        findings = [Finding(name, key) for key, names in several.items() for name in names]
        return Check("group_guess", True, text, findings=findings)
    return Check("group_guess", False, "the names do not look as if several photos show one part.")


def _key(photo: Photo, rule: str) -> str:
    """The group by the rule, within the subset; the photo's name if the rule leaves it whole or without a number."""
    group = group_of(photo.name, rule)
    if rule == "prefix" and (group == PurePosixPath(photo.name).stem or not re.search(r"\d", group)):
        return photo.name
    return f"{photo.subset or ''}{group}"


def _bursts(photos: Sequence[Photo], facts: Sequence[FileFacts]) -> Check:
    clock = np.array([fact.taken for fact in facts])
    taken = np.where(np.isfinite(clock), clock, [_time_in(photo.name) for photo in photos])
    dated = [int(index) for index in np.argsort(taken, kind="stable") if np.isfinite(taken[index])]
    if not dated:
        return Check.not_made("bursts", "neither files nor names say when the photos were taken.")
    findings = []
    for before, after in pairwise(dated):
        apart = float(taken[after] - taken[before])
        if apart <= _BURST and photos[before].group != photos[after].group:
            findings.append(Finding(photos[before].name, photos[after].name, apart))
    if not findings:
        return Check("bursts", False, "no two photos of different groups were taken within 2 seconds.")
    text = (
        f"{len(findings)} photos were taken within 2 seconds of another one and share no group with it, for example "
        f"{findings[0].path} and {findings[0].other}: if they show one part, give them one group."
    )
    return Check("bursts", True, text, findings=findings, pairs=True)


def _time_in(name: str) -> float:
    """Seconds since 1970 of a date and time in a file's name; NaN when there is none.

    >>> _time_in("Correct/IMG_20240506_070809.jpg") - _time_in("cam1-2024-05-06T07-08-07.png")
    2.0
    """
    match = _TIME.search(PurePosixPath(name).name)
    with suppress(ValueError):
        return datetime.datetime(*map(int, match.groups())).timestamp() if match else math.nan  # type: ignore[arg-type]
    return math.nan
