"""One photo of a set."""

from dataclasses import dataclass
from pathlib import Path

SUBSETS = ("train", "val", "test")


@dataclass(frozen=True)
class Photo:
    """One photo: where it is and what is known of it before it is opened.

    Attributes:
        path: absolute path of the file.
        name: path below the root, with forward slashes: the photo's identity on any machine.
        label: 0 for Correct, 1 for Incorrect.
        group: photos with the same group show one part and stay on one side of every split.
        subset: train, val or test when the user has fixed it, else None.
        sha256: of the file's bytes when the manifest says it, else None.
    """

    path: Path
    name: str
    label: int
    group: str
    subset: str | None = None
    sha256: str | None = None
