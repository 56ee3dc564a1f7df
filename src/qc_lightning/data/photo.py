"""One photo of a set."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SUBSETS = ("train", "val", "test")
TRAINS_WITHOUT = "experiment=recommended trains without Incorrect photos"


@dataclass(frozen=True)
class Photo:
    """One photo: its path and what is known before it is opened.

    Attributes:
        path: absolute path of the file.
        name: path below the root, with forward slashes: the photo's identity on any machine.
        label: 0 for Correct, 1 for Incorrect.
        group: photos with the same group show one part and stay on one side of every split.
        subset: train, val or test when the user has fixed it, else None.
        sha256: of the file's bytes if the manifest has it, else None.
        kind: kind of the defect if the manifest has it, else empty.
        camera: name of the camera if the manifest has it, else empty.
    """

    path: Path
    name: str
    label: int
    group: str
    subset: str | None = None
    sha256: str | None = None
    kind: str = ""
    camera: str = ""


class Catalog(NamedTuple):
    """The photos, and a description of what was left out."""

    photos: list[Photo]
    notes: list[str]


def group_of(name: str, rule: str) -> str:
    """Return the group of a photo by its name.

    >>> group_of("Correct/bracket-7/left.jpg", "folder")
    'Correct/bracket-7'
    >>> group_of("Correct/bracket-7_left.jpg", "prefix")
    'bracket-7'
    """
    parent, _, file = name.rpartition("/")
    stem = file.rsplit(".", 1)[0]
    if rule == "folder":
        return parent
    if rule == "prefix":
        cut = max(stem.rfind("_"), stem.rfind("-"))
        return stem[:cut] if cut > 0 else stem
    return name
