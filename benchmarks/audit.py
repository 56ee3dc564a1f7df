"""How much of what is planted an audit finds, on ELPV: copies, outliers, flipped labels, and the time of the checks.

python benchmarks/audit.py [labels]      with `labels` the network's part too: minutes more
"""

import csv
import json
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from omegaconf import open_dict
from PIL import Image, ImageFilter

from qc_lightning.audit import audit
from qc_lightning.cli.compose import composed
from qc_lightning.config import AuditConfig, parse

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg80.jpg": lambda image: image,
    "half.png": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "light.png": lambda image: image.point([min(255, round(1.05 * grey)) for grey in range(256)]),
    "same.bmp": lambda image: image,
    "shift.png": lambda image: Image.fromarray(np.roll(np.asarray(image), (2, 2), (0, 1))),
    "crop.png": lambda image: image.crop((3, 3, image.width - 3, image.height - 3)),
}
FAULTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "dark": lambda image: image.point([round(0.3 * grey) for grey in range(256)]),
    "overexposed": lambda image: image.point([min(255, round(2.5 * grey)) for grey in range(256)]),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(5)),
    "empty": lambda image: Image.new("L", image.size, 90),
    "odd_size": lambda image: image.resize((image.width, image.height // 2)),
    "odd_mode": lambda image: image.convert("RGB"),
}
EACH = 60


def main() -> None:
    folder = Path(find_spec("elpv_dataset").origin).parent / "data"  # type: ignore[union-attr, arg-type]
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    sure = [(folder / name, int(float(p))) for name, p, _ in rows if float(p) in (0.0, 1.0)]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for label in ("Correct", "Incorrect"):
            (root / label).mkdir()
        flipped = set(rng.choice(len(sure), round(0.05 * len(sure)), replace=False)) if "labels" in sys.argv else set()
        original = {}
        for index, (path, label) in enumerate(sure):
            original[index] = root / ("Correct", "Incorrect")[label ^ (index in flipped)] / path.name
            original[index].symlink_to(path)
        if not flipped:
            for index in rng.choice(len(sure), EACH, replace=False):
                for name, change in COPIES.items():
                    copy = original[index].with_name(f"{original[index].stem}-{name}")
                    change(Image.open(original[index])).save(copy, quality=80)
            for name, change in FAULTS.items():
                for index in rng.choice(len(sure), EACH // 4, replace=False):
                    change(Image.open(original[index])).save(
                        original[index].with_name(f"{original[index].stem}-{name}.png")
                    )
        cfg = composed("audit", [f"data.root={root}", f"output={root / 'found'}", f"quick={str(not flipped).lower()}"])
        with open_dict(cfg):
            del cfg["hydra"]
        found = audit(parse(cfg, AuditConfig))
        with (found / "audit.csv").open(newline="") as file:
            findings = list(csv.DictReader(file))
        checks = {check["name"]: check for check in json.loads((found / "audit.json").read_text())["checks"]}
    if flipped:
        ranked = [row["path"] for row in findings if row["check"] == "label_errors"][: len(sure) // 10]
        names = {str(original[index].relative_to(root)) for index in flipped}
        print(f"flipped labels: recall {len(names & set(ranked)) / len(names):.3f} among the first {len(ranked)}")
        print(checks["learning_curve"]["text"])
        return
    pairs = [row for row in findings if row["check"] in ("near_duplicates", "copies_pixels")]
    stem = {row: Path(row).stem.split("-")[0] for pair in pairs for row in (pair["path"], pair["other"])}
    for name in COPIES:
        hit = {stem[path] for pair in pairs for path in (pair["path"], pair["other"]) if path.endswith(f"-{name}")}
        print(f"copies {name}: recall {len(hit) / EACH:.3f}")
    wrong = [pair for pair in pairs if stem[pair["path"]] != stem[pair["other"]]]
    touched = {stem[pair[side]] for pair in wrong for side in ("path", "other")}
    print(f"pairs of different cells: {len(wrong)} of {len(pairs)}, {len(touched) / len(sure):.4f} of the cells")
    for name in FAULTS:
        paths = {row["path"] for row in findings if row["check"] == name}
        right = {path for path in paths if path.endswith(f"-{name}.png")}
        others = {path for path in paths if "-" not in path}
        print(f"{name}: recall {len(right) / (EACH // 4):.3f}, {len(others)} other photos flagged")


if __name__ == "__main__":
    main()
