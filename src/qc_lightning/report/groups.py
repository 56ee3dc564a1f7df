"""Advice on groups if every photo is its own part: a rule that finds parts, with examples."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qc_lightning.config import SplitConfig
from qc_lightning.core.errors import UserError
from qc_lightning.data.catalog import path_text
from qc_lightning.data.photo import Photo, group_of
from qc_lightning.data.split import split
from qc_lightning.report.advice import Advice

_CUT = {"prefix": "what stands before the last _ or - of its name", "folder": "its folder"}
_EXAMPLES = 3
_FEWEST = 4  # groups: two of each class


def group_advice(
    records: Sequence[Mapping[str, str]], data: Mapping[str, Any], train: str, classes: Sequence[str]
) -> Advice | None:
    """Advice on how to name groups; None if photos already share groups or have no records.

    Args:
        records: rows of split.csv.
        data: the run's data settings, as plain data.
        train: the command of the run.
        classes: the user's names for Correct and Incorrect.
    """
    # every rendered photo is its own part
    if not records or data.get("source") == "parts" or len({row["group"] for row in records}) < len(records):
        return None
    records = [{**row, "path": path_text(row["path"])} for row in records]
    warning = (
        "Every photo was taken for a part of its own. If several show one part, say so: otherwise the same part is "
        "trained and tested on, and the figures are too good. "
    )
    usable = {}
    for rule, cut in _CUT.items():
        groups: dict[str, list[str]] = defaultdict(list)
        for row in records:
            groups[group_of(row["path"], rule)].append(row["path"].rpartition("/")[2])
        several = {name: files for name, files in groups.items() if len(files) > 1}
        if len(groups) >= _FEWEST and several and _can_be_split(records, data, rule, classes):
            usable[rule] = (len(groups), cut, several)
    if not usable:
        return Advice(
            f"{warning}Neither the photos' folders nor their names up to the last _ or - make parts that could be "
            "split: list the photos in a CSV with path,label,group and train with data.manifest=<the CSV>."
        )
    rule = max(usable, key=lambda name: usable[name][0])
    count, cut, several = usable[rule]
    shown = [
        f"{Path(name).name} ({', '.join(files[:2])}{', ...' if len(files) > 2 else ''})"
        for name, files in list(several.items())[:_EXAMPLES]
    ]
    text = (
        f"{warning}If the part of a photo is {cut}, the {len(records):,} photos show {count:,} parts, {len(several):,} "
        f"of them on several photos, such as {'; '.join(shown)}."
    )
    return Advice(text, f"{train} data.group={rule}")


def _can_be_split(
    records: Sequence[Mapping[str, str]], data: Mapping[str, Any], rule: str, classes: Sequence[str]
) -> bool:
    """Whether a split by this rule has both classes in all subsets."""
    settings = {"test": 0.3, "val": 0.1, "seed": 0, "folds": 5, "fold": None, **(data.get("split") or {})}
    nowhere = Path()  # no file is opened
    photos = [
        Photo(nowhere, row["path"], int(row["label"] == classes[1]), group_of(row["path"], rule)) for row in records
    ]
    try:
        subsets = split(photos, SplitConfig(**settings), (classes[0], classes[1]))
    except (UserError, TypeError):
        return False
    # cross-validation on the training part needs two groups of each class
    trained = {(photo.label, photo.group) for photo, subset in zip(photos, subsets, strict=True) if subset == "train"}
    return all(sum(photo_label == label for photo_label, _ in trained) >= 2 for label in (0, 1))
