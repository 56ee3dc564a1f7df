"""Photos keep their aspect ratio: in the dataset, through the network, in heat maps."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qc_lightning.core.run import Run
from qc_lightning.data.decoding.shape import common_shape, photo_size, shape_of
from qc_lightning.explanation.evidence import evidence
from qc_lightning.inference.inspector import Inspector
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.network import Network

Train = Callable[..., tuple[int, Path, str]]


@pytest.mark.parametrize("aspect", [1 / 50, 1 / 4, 0.4, 0.8, 1.3, 3, 40])
@pytest.mark.parametrize("side", [64, 300, 448])
def test_sides_are_multiples_of_16_with_about_as_many_pixels(aspect: float, side: int) -> None:
    height, width = shape_of(aspect, side)
    assert height % 16 == width % 16 == 0
    if 1 / 16 < aspect < 16 and side > 64:
        assert height * width == pytest.approx(side**2, rel=0.15)
        assert height / width == pytest.approx(aspect, rel=0.2)
    assert shape_of(1 / aspect, side) == (width, height)


def test_nearly_square_photos_stay_square() -> None:
    assert shape_of(1.04, 300) == shape_of(0.96, 300) == (300, 300)
    assert shape_of(1.2, 300) == (336, 272)


def test_the_shape_of_a_set_is_the_median_one(tmp_path: Path) -> None:
    def photos(*sizes: tuple[int, int]) -> list[Path]:
        paths = [tmp_path / f"{number}.png" for number in range(len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            Image.new("L", size).save(path)
        return paths

    assert common_shape(photos((400, 100), (404, 101), (396, 99)), 300, (1, 1)) == (144, 608, [])
    # two rows of three tiles of a photo of 2 : 3 are square
    assert common_shape(photos((300, 200)), 64, (2, 3)) == (64, 64, [])
    height, width, notes = common_shape(photos((400, 100), (400, 100), (100, 100)), 300, (1, 1))
    assert (height, width) == (144, 608)
    assert len(notes) == 1
    assert notes[0].startswith(
        "1 of 3 photos looked at have another shape than most (height / width 0.25, from 0.25 to"
    )
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no photo")
    assert common_shape([broken], 300, (1, 1)) == (300, 300, [])


def test_a_photo_on_its_side_counts_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 10)).save(tmp_path / "turned.jpg", exif=exif)
    assert photo_size(tmp_path / "turned.jpg") == (40, 10)
    assert photo_size(tmp_path / "missing.jpg") is None


@pytest.fixture(scope="module")
def long_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark photos with aspect 1 : 4; the bad ones have a bright spot in the left half."""
    root, draw = tmp_path_factory.mktemp("long"), np.random.default_rng(0)
    for label, name in enumerate(("Correct", "Incorrect")):
        (root / name).mkdir()
        for number in range(16):
            pixels = draw.integers(20, 60, (80, 320), dtype=np.uint8)
            if label:
                x, y = draw.integers(10, 120), draw.integers(10, 60)
                pixels[y : y + 12, x : x + 12] = 250
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_long_photos_from_training_to_heat_maps(long_photos: Path, train: Train) -> None:
    code, run, output = train(
        "experiment=recommended", "data=folder", f"data.root={long_photos}", "data.image_size=96", "data.cache=ram"
    )
    assert code == 0, output
    inspector = Inspector.load(Run(run))
    assert inspector.decode.shape == (3, 48, 192)
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    assert json.loads((run / "metrics.json").read_text())["test"]["auroc"]["value"] == 1.0
    assert "48 x 192 pixels" in (run / "model_card.md").read_text()

    from qc_lightning.data.decoding.decode import decode

    bad = next(row for row in rows if row["label"] == "Incorrect")
    image = torch.from_numpy(decode(Path(bad["path"]), inspector.decode))[None].float() / 255
    network = inspector.network
    assert isinstance(network, Network)
    head = network.head
    assert isinstance(head, FittedHead)
    assert head.patches is not None
    torch.nn.init.normal_(head.patches.linear.weight, generator=torch.Generator().manual_seed(0))
    heat, logit = evidence(network, image)
    assert heat.shape == (1, 48, 192)
    torch.testing.assert_close(logit, network(image))
    bias = head.pooled.linear.bias + head.patches.linear.bias
    torch.testing.assert_close(heat.sum((1, 2)), logit - bias, rtol=0.1, atol=0.1)
    torch.nn.init.zeros_(head.patches.linear.weight)
    heat, _ = evidence(network, image)
    # the spots are in the left half
    assert heat[0, :, :96].clamp(min=0).sum() > heat[0, :, 96:].clamp(min=0).sum()


def test_the_papers_network_keeps_its_square(long_photos: Path, train: Train) -> None:
    data = ["data=folder", f"data.root={long_photos}", "trainer.max_epochs=1", "report=false", "data.cache=ram"]
    code, run, output = train("experiment=paper", *data)
    assert code == 0, output
    assert Inspector.load(Run(run)).decode.shape == (3, 64, 64)


def test_a_network_that_takes_squares_only_says_what_to_set(long_photos: Path, train: Train) -> None:
    code, _, output = train(
        "model=timm", "model.name=vit_tiny_patch16_224", "model.mode=scratch", "data=folder",
        f"data.root={long_photos}", "data.cache=ram",
    )  # fmt: skip
    assert code == 2
    assert "data.resize: vit_tiny_patch16_224 cannot take photos of 112 x 448 px" in output
    assert "set data.resize=squash" in output
