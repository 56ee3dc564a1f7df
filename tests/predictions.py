"""Photos of one grey whose probabilities are known by hand, and verdicts read back."""

import csv
import math
from pathlib import Path

import numpy as np
from PIL import Image


def probability_of(grey: int) -> float:
    """What the model of these tests gives a photo of one grey, by hand: logit = 20 (grey / 255 - 0.5)."""
    return 1 / (1 + math.exp(-20 * (grey / 255 - 0.5)))


def save(path: Path, grey: int, size: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), grey, np.uint8)).save(path)
    return path


def ten_photos(folder: Path) -> Path:
    """Greys 0, 25, ... 225, in two folders."""
    for i in range(10):
        save(folder / f"box {i // 5}" / f"{i}.png", 25 * i)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(path: Path) -> list[str]:
    return [Path(row["path"]).name for row in read(path)]


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
