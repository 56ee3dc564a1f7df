"""Leak checks on split.csv: counts per subset, and whether the test photos are really unseen."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

Records = Sequence[Mapping[str, str]]


def split_counts(split: Records, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Number of photos per class, and of photos and groups per subset; empty without records.

    Args:
        split: rows of split.csv.
        classes: the labels of Correct and Incorrect.
    """
    counts = []
    for subset in ("train", "val", "test") if split else ():
        photos = [row for row in split if row["subset"] == subset]
        labels = Counter(row["label"] for row in photos)
        by_class = [labels[name] for name in classes]
        groups = len({row["group"] for row in photos})
        counts.append({"subset": subset, "by_class": by_class, "total": len(photos), "groups": groups})
    return counts


def leak_checks(split: Records) -> list[tuple[bool, str]]:
    """Find groups, and copies of a file, that are in two subsets.

    Returns:
        (passed, finding) for each check; empty without records.
    """
    checks = []
    nouns = {"group": ("group (part)", "groups (parts)"), "sha256": ("file", "files, byte for byte,")}
    for column, (one, many) in nouns.items() if split else ():
        where: dict[str, set[str]] = defaultdict(set)
        example: dict[str, str] = {}
        for row in split:
            if row.get(column):
                where[row[column]].add(row["subset"])
                example[row[column]] = row["path"]
        torn = [example[key] for key, subsets in where.items() if len(subsets) > 1]
        if not where:
            text = f"Not checked whether a {one} is in two subsets: split.csv does not say."
        elif torn:
            text = f"{len(torn):,} {many} found in two subsets, so the figures are too good; for example {torn[0]}"
        else:
            text = f"No {one} is in two subsets ({len(where):,} compared)."
        checks.append((bool(where) and not torn, text))
    return checks
