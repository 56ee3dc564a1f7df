"""Planted faults in ELPV that an audit finds.

    python benchmarks/audit.py [copies] [shortcuts] [groups] [labels[=1,2,3]]

Each is a separate set, made from the package's photos in a temporary folder; without an argument all are run. `labels`
needs the network's features, which take minutes the first time; it takes the seeds of the label draws.
"""

import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from omegaconf import open_dict
from PIL import Image, ImageFilter

from qc_lightning.audit import audit
from qc_lightning.cli.compose import composed
from qc_lightning.config import AuditConfig, parse
from qc_lightning.data.sources.elpv import module_of

CLASSES = ("Correct", "Incorrect")
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
EACH, DRAWS = 60, (1, 2, 3)

Cells = list[tuple[Path, int]]
Found = tuple[list[dict[str, str]], dict[str, dict[str, object]]]


def main() -> None:
    folder = Path(find_spec("elpv_dataset").origin).parent / "data"  # type: ignore[union-attr, arg-type]
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    cells = [(folder / name, int(float(p))) for name, p, _ in rows if float(p) in (0.0, 1.0)]
    parts = {"copies": copies, "shortcuts": shortcuts, "groups": groups, "labels": labels}
    for word in sys.argv[1:] or parts:
        name, _, draws = word.partition("=")
        if draws:
            labels(cells, [int(draw) for draw in draws.split(",")])
        else:
            parts[name](cells)


def copies(cells: Cells) -> None:
    """Copies and faulty photos among all cells."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        original = link(cells, root, (label for _, label in cells))
        for index in rng.choice(len(cells), EACH, replace=False):
            for name, change in COPIES.items():
                copy = original[index].with_name(f"{original[index].stem}-{name}")
                change(Image.open(original[index])).save(copy, quality=80)
        for name, change in FAULTS.items():
            for index in rng.choice(len(cells), EACH // 4, replace=False):
                fault = original[index].with_name(f"{original[index].stem}-{name}.png")
                change(Image.open(original[index])).save(fault)
        findings, _ = audited(root, "quick=true")
    for kinds in (("near_duplicates", "copies_pixels"), ("lookalikes",)):
        pairs = [row for row in findings if row["check"] in kinds]
        wrong = {path for pair in pairs if cell(pair["path"]) != cell(pair["other"]) for path in sides(pair)}
        for name in COPIES:
            hit = {cell(path) for pair in pairs for path in sides(pair) if path.endswith(f"-{name}")}
            print(f"{'/'.join(kinds)}: {name}: recall {len(hit) / EACH:.3f}")
        touched = {cell(path) for path in wrong}
        print(f"{'/'.join(kinds)}: {len(touched) / len(cells):.4f} of the cells in pairs of different cells")
    for name in FAULTS:
        paths = {row["path"] for row in findings if row["check"] == name}
        right = {path for path in paths if path.endswith(f"-{name}.png")}
        others = {path for path in paths if "-" not in path}
        precision = len(right) / max(1, len(right) + len(others))
        print(f"{name}: recall {len(right) / (EACH // 4):.3f}, precision {precision:.3f}, {len(others)} other cells")


def shortcuts(cells: Cells) -> None:
    """Each property changed in one class of 400 cells: which checks are flagged, and by how much."""
    rng = np.random.default_rng(0)
    some = [cells[index] for index in sorted(rng.choice(len(cells), 400, replace=False))]

    def border(grey: int) -> Callable[[Image.Image, Path], None]:
        def save(image: Image.Image, path: Path) -> None:
            pixels = np.asarray(image).astype(np.int16)
            inside = pixels[9:-9, 9:-9].copy()
            pixels += grey
            pixels[9:-9, 9:-9] = inside
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)

        return save

    def dated(image: Image.Image, path: Path) -> None:
        image.save(path)
        os.utime(path, (1.7e9, 1.7e9))

    exif = Image.Exif()
    exif[0x0110] = "Line cam 5"
    planted: dict[str, Callable[[Image.Image, Path], None]] = {
        "nothing": lambda image, path: image.save(path),
        "border 20 grey levels lighter": border(20),
        "border 60 grey levels lighter": border(60),
        "20% lighter": lambda image, path: image.point([min(255, round(1.2 * g)) for g in range(256)]).save(path),
        "60% lighter": lambda image, path: image.point([min(255, round(1.6 * g)) for g in range(256)]).save(path),
        "280 pixels of 300": lambda image, path: image.resize((280, 280)).save(path),
        "BMP for PNG": lambda image, path: image.save(path.with_suffix(".bmp")),
        "JPEG 80 for 90": lambda image, path: image.save(path.with_suffix(".jpg"), quality=80),
        "another day": dated,
        "a camera's name": lambda image, path: image.save(path, exif=exif),
    }
    for name, save in planted.items():
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            for label in CLASSES:
                (root / label).mkdir()
            for source, label in some:
                path, image = root / CLASSES[label] / source.name, Image.open(source)
                if label:
                    save(image, path)
                elif "JPEG" in name:
                    image.save(path.with_suffix(".jpg"), quality=90)
                else:
                    image.save(path)
            _, checks = audited(root, "quick=true", "data.image_size=150")
        values = {key: check["value"] for key, check in checks.items() if check["value"] and key != "amount"}
        said = [f"{key} {value:.3f}{' FLAGGED' if checks[key]['flagged'] else ''}" for key, value in values.items()]
        print(f"shortcuts: {name}: {', '.join(said)}", flush=True)


def groups(cells: Cells) -> None:
    """Bursts by the camera's clock, and names of several views."""
    with tempfile.TemporaryDirectory() as scratch:
        root, second, planted = Path(scratch), 0, set()
        for index, (source, label) in enumerate(cells[:300]):
            path = root / CLASSES[label] / f"{source.stem}.jpg"
            path.parent.mkdir(exist_ok=True)
            burst = index % 5 == 1
            second += 1 if burst else 10
            if burst:
                planted.add(source.stem)
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9003] = f"2024:05:06 {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            Image.open(source).save(path, exif=exif)
        findings, _ = audited(root, "quick=true", "data.image_size=64")
    found = [row for row in findings if row["check"] == "bursts"]
    right = sum(Path(row["other"]).stem in planted for row in found)
    print(f"bursts: recall {right / len(planted):.3f}, precision {right / max(1, len(found)):.3f} of {len(found)}")
    for names, views in (("part-{}_{}", 3), ("IMG_{:04}{:.0}", 1), ("cam1_{:05}{:.0}", 1), ("part{}/{}", 4)):
        with tempfile.TemporaryDirectory() as scratch:
            root, truth = Path(scratch), {}
            for index, (source, label) in enumerate(cells[:240]):
                name = names.format(index // views, "abcdef"[index % views] if views > 1 else "")
                path = root / CLASSES[label] / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(source)
                truth[path.relative_to(root).as_posix()] = name[:-1].rstrip("_") if views > 1 else name
            findings, checks = audited(root, "quick=true", "data.image_size=64")
        guessed = [row for row in findings if row["check"] == "group_guess"]
        print(f"group_guess: {names}: {checks['group_guess']['text']} ({len(guessed)} of {len(truth)} photos)")


def labels(cells: Cells, draws: Iterable[int] = DRAWS) -> None:
    """5% of the labels flipped, with each cell as its own group and with modules as groups."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        paths = link(cells, root, [0] * len(cells))  # the manifest has the labels
        for draw in draws:
            rng = np.random.default_rng(draw)
            flipped = set(rng.choice(len(cells), round(0.05 * len(cells)), replace=False).tolist())
            for grouped in (False, True):
                with (root / "manifest.csv").open("w", newline="") as file:
                    table = csv.writer(file)
                    table.writerow(("path", "label", "group"))
                    for index, (path, (_, label)) in enumerate(zip(paths, cells, strict=True)):
                        group = f"module-{module_of(int(path.stem.removeprefix('cell')))}" if grouped else path.stem
                        table.writerow((path, CLASSES[label ^ (index in flipped)], group))
                findings, checks = audited(root, f"data.manifest={root / 'manifest.csv'}")
                first = len(cells) // 10
                ranked = [cell(row["path"]) for row in findings if row["check"] == "label_errors"][:first]
                hit = len({paths[index].stem for index in flipped} & set(ranked))
                how = "modules as groups" if grouped else "no groups"
                print(f"labels: draw {draw}, {how}: recall {hit / len(flipped):.3f} among the first {first}")
                print(f"labels: {checks['learning_curve']['text']}", flush=True)


def link(cells: Cells, root: Path, given: Iterable[int]) -> list[Path]:
    """The cells below `root`, in the folders of these labels."""
    paths = []
    for (source, _), label in zip(cells, given, strict=True):
        path = root / CLASSES[label] / source.name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(source)
        paths.append(path)
    return paths


def audited(root: Path, *overrides: str) -> Found:
    """The rows of audit.csv, and the checks of audit.json by name."""
    output = tempfile.mkdtemp(dir=root, prefix="found")
    cfg = composed("audit", [f"data.root={root}", f"output={output}", *overrides])
    with open_dict(cfg):
        del cfg["hydra"]
    with redirect_stdout(io.StringIO()):
        found = audit(parse(cfg, AuditConfig))
    with (found / "audit.csv").open(newline="") as file:
        findings = list(csv.DictReader(file))
    return findings, {check["name"]: check for check in json.loads((found / "audit.json").read_text())["checks"]}


def cell(path: str) -> str:
    """The name of the cell that a photo shows."""
    return Path(path).stem.split("-")[0]


def sides(pair: dict[str, str]) -> tuple[str, str]:
    """Both photos of a pair."""
    return pair["path"], pair["other"]


if __name__ == "__main__":
    main()
