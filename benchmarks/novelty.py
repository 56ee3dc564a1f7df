"""Fraction of altered photos above the limit of novelty: `python benchmarks/novelty.py SEEDS PHOTOS SET-RECIPE ...`.

    python benchmarks/novelty.py 4 100 parts-paper elpv-paper
    python benchmarks/novelty.py 4 10 parts-recommended elpv-recommended

Trains qc-lightning's recipes on each set with several splits and takes the false alarms from metrics.json. Alters up to
PHOTOS test photos of each split in each way and counts those above the limit, with 95% Wilson intervals over all splits
(photos of several splits overlap, so these are slightly too narrow). Novelty does not depend on the training of the
head: one epoch without copies is enough.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from qc_lightning import fit
from qc_lightning.core.run import Run
from qc_lightning.evaluation.evaluation_set import split_photos
from qc_lightning.inference.inspection import decode_photo
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.intervals import wilson

RECIPES = {
    "paper": ["experiment=paper", "trainer.max_epochs=1"],
    "recommended": ["experiment=recommended", "model.copies=0", "model.patches=false"],
}
SETS = {"parts": ["data=parts", "data.count=2000"], "elpv": ["data=elpv"]}


def _backdrop(image: Image.Image) -> tuple[int, int, int]:
    """The colour of the photo's border: what the camera sees around the part."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = np.median(border, axis=0)[:3]
    return int(red), int(green), int(blue)


def _turned(degrees: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_backdrop(image))


def _shifted(image: Image.Image) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, 0.4 * image.width, 0, 1, 0), fillcolor=_backdrop(image)
    )


def _zoomed(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((w // 4, h // 4, w // 4 + w // 2, h // 4 + h // 2)).resize((w, h), Image.Resampling.BILINEAR)


def _blurred(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.filter(ImageFilter.GaussianBlur(share * image.width))


def _half(image: Image.Image) -> Image.Image:
    changed = image.copy()
    changed.paste(_backdrop(image), (image.width // 2, 0, image.width, image.height))
    return changed


def _flat(colour: tuple[int, int, int]) -> Callable[[Image.Image], Image.Image]:
    return lambda image: Image.new("RGB", image.size, colour)


def _noise(image: Image.Image) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (image.height, image.width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


FALSE_ALARMS = "as they are: false alarms"
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "turned by 45 degrees": _turned(45),
    "turned by 90 degrees": _turned(90),
    "cut off (shifted by 40%)": _shifted,
    "half a part": _half,
    "zoomed in twice": _zoomed,
    "out of focus, sigma 1% of the width": _blurred(0.01),
    "out of focus, sigma 3%": _blurred(0.03),
    "at 30% of the light": lambda image: image.point(lambda value: 0.3 * value),
    "empty: the border's colour": lambda image: _flat(_backdrop(image))(image),
    "black": _flat((0, 0, 0)),
    "white": _flat((255, 255, 255)),
    "grey": _flat((128, 128, 128)),
    "noise": _noise,
}


def caught(run: Run, most: int) -> Iterator[tuple[str, int, int]]:
    """Change, photos above the limit, photos."""
    inspector = Inspector.load(run)
    limit = inspector.decision.novelty
    assert limit is not None
    photos = [photo for photo in split_photos(run) if photo.subset == "test"]
    chosen = np.linspace(0, len(photos) - 1, min(most, len(photos))).round().astype(int)
    test = json.loads(run.metrics.read_text())["novelty"]["test"]
    yield FALSE_ALARMS, test["above"], test["n"]
    some = [photos[i] for i in chosen]
    for name, change in CHANGES.items():
        above = 0
        for start in range(0, len(some), 64):
            images = [_changed(photo.path, inspector, change) for photo in some[start : start + 64]]
            novelty = inspector.scores(np.stack(images))[1]
            assert novelty is not None
            above += int((novelty.numpy() > limit).sum())
        yield name, above, len(some)


def _changed(path: Path, inspector: Inspector, change: Callable[[Image.Image], Image.Image]) -> npt.NDArray[np.uint8]:
    pixels = decode_photo(path, inspector.decode).pixels
    assert pixels is not None
    image = change(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def main(seeds: int, most: int, tries: list[str]) -> None:
    for name, recipe in (one.split("-") for one in tries):
        words = RECIPES[recipe]
        total: dict[str, list[int]] = {}
        for seed in range(seeds):
            where = f"hydra.run.dir=outputs/novelty/{name}-{recipe}-{seed}"
            quiet = ["report=false", "trainer.enable_progress_bar=false", f"data.split.seed={seed}", where]
            run = fit(None, *SETS[name], *words, *quiet)
            for change, above, n in caught(run, most):
                counts = total.setdefault(change, [0, 0])
                counts[0], counts[1] = counts[0] + above, counts[1] + n
                if change == FALSE_ALARMS:
                    print(f"{name} {recipe} seed {seed}: {above} of {n} false alarms", flush=True)
        for change, (above, n) in total.items():
            low, high = wilson(above, n)
            print(f"| {name} | {recipe} | {change} | {above} of {n} | {above / n:.1%} ({low:.1%} to {high:.1%}) |")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
