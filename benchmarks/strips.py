"""A dataset of real photos with aspect 1 : 4 from the solar cells: `python benchmarks/strips.py FOLDER`.

    python benchmarks/strips.py strips/
    python -m qc_lightning.train experiment=recommended data=folder data.root=strips data.group=prefix \
        [data.resize=squash]

Each strip has four neighbouring cells of one module, without cells with uncertain labels; a strip is Incorrect if one
of its cells is.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from qc_lightning.data.sources.elpv import module_of

CELLS = 4


def main(folder: str) -> None:
    import elpv_dataset

    source = Path(elpv_dataset.__file__).parent / "data"
    modules: dict[int, list[tuple[Path, bool]]] = {}
    for line in (source / "labels.csv").read_text().splitlines():
        name, probability, _ = line.split()
        if float(probability) in (0.0, 1.0):
            module = module_of(int(Path(name).stem.removeprefix("cell")))
            modules.setdefault(module, []).append((source / name, float(probability) == 1.0))
    for module, cells in modules.items():
        for start in range(0, len(cells) - CELLS + 1, CELLS):
            some = cells[start : start + CELLS]
            label = "Incorrect" if any(bad for _, bad in some) else "Correct"
            (Path(folder) / label).mkdir(parents=True, exist_ok=True)
            pixels = np.concatenate([np.asarray(Image.open(path).convert("L")) for path, _ in some], axis=1)
            Image.fromarray(pixels).save(Path(folder) / label / f"module{module:02d}_{start // CELLS:02d}.png")


if __name__ == "__main__":
    main(sys.argv[1])
