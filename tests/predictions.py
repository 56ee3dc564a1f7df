"""Uniform photos with hand-computed probabilities, and verdicts read back."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image


def probability_of(grey: int) -> float:
    """The probability of a uniform photo by the model of these tests: logit = 20 (grey / 255 - 0.5)."""
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


def forty_photos(folder: Path) -> Path:
    """Greys 0, 6, ... 234, and one that cannot be read."""
    for number in range(40):
        save(folder / f"{number:02d}.png", number * 6)
    (folder / "broken.png").write_bytes(b"no photo")
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(path: Path) -> list[str]:
    return [Path(row["path"]).name for row in read(path)]


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def rows(folder: Path) -> list[dict[str, object]]:
    """Those of a folder of part files."""
    import pyarrow.parquet

    found: list[dict[str, object]] = []
    for part in sorted(folder.glob("part-*")):
        if part.suffix == ".jsonl":
            found += [json.loads(line) for line in part.read_text().splitlines()]
        else:
            found += pyarrow.parquet.read_table(part).to_pylist()
    return found
