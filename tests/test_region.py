"""data.roi and data.mask: nothing outside the region of interest reaches the network."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from qc_lightning import Inspector
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import DecodeSettings, decode_bytes
from qc_lightning.data.decoding.mask import unpack_mask
from qc_lightning.data.decoding.mask_file import read_mask
from qc_lightning.data.decoding.shape import common_shape
from qc_lightning.explanation.explanations import on_photo

ROI = (0.25, 0.5, 0.75, 1.0)


def in_file(image: Image.Image, kind: str = "PNG", orientation: int = 1, **options: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_what_a_photo_of_it_alone_gives(orientation: int, resize: str) -> None:
    size = (40, 64, 3) if orientation < 5 else (64, 40, 3)
    stored = np.random.default_rng(orientation).integers(0, 256, size, np.uint8)
    whole = in_file(Image.fromarray(stored), orientation=orientation)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(whole))))
    assert upright.shape == (40, 64, 3)
    settings = {"height": 16, "width": 24, "resize": resize}
    got = decode_bytes(whole, DecodeSettings(**settings, roi=ROI))
    alone = decode_bytes(in_file(Image.fromarray(upright[20:40, 16:48])), DecodeSettings(**settings))
    assert np.abs(got.astype(int) - alone).max() <= 1  # turned after the resize or before it: rounding differs


def test_large_jpegs_keep_enough_of_the_region() -> None:
    y, x = np.mgrid[:1200, :1600]
    photo = np.stack([x // 7 % 256, y // 5 % 256, (x + y) // 11 % 256], axis=-1).astype(np.uint8)
    settings = DecodeSettings(64, 64, roi=(0.5, 0.25, 0.6, 0.35))
    got = decode_bytes(in_file(Image.fromarray(photo), "JPEG", quality=95), settings)
    exact = decode_bytes(in_file(Image.fromarray(photo[300:420, 800:960])), DecodeSettings(64, 64))
    assert np.abs(got.astype(int) - exact).mean() < 2  # 160 x 120 pixels are less than twice the output: no reduction


def test_the_shape_is_that_of_the_region(tmp_path: Path) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    assert common_shape([tmp_path / "a.png"], 300, (1, 1), [(0.0, 0.0, 1.0, 0.25)])[:2] == (144, 608)


def test_settings_survive_a_file() -> None:
    settings = DecodeSettings(16, 24, roi=ROI)
    assert DecodeSettings(**json.loads(json.dumps(settings.plain()))) == settings
    assert DecodeSettings(**DecodeSettings().plain()) == DecodeSettings()


def test_there_is_no_heat_outside() -> None:
    laid = on_photo(np.ones((8, 8), np.float32), (40, 64), DecodeSettings(8, 8, roi=ROI))
    assert laid[20:40, 16:48].sum() == pytest.approx(1)
    assert np.count_nonzero(laid) == 20 * 32


@pytest.mark.parametrize(
    "roi", ["[0,0,1]", "[0.5,0,0.5,1]", "[-0.1,0,1,1]", "[0,0,1,1.1]", "[0.8,0,0.2,1]", "[0,0,1,0.001]", "[a,0,1,1]"]
)
def test_what_is_no_region_is_refused(roi: str, train: Callable[..., tuple[int, Path, str]]) -> None:
    code, _, said = train(f"data.roi={roi}")
    assert code == 2
    assert "data.roi" in said
    assert said.strip().count("\n") == 0


def test_a_run_does_not_see_what_lies_outside(
    train: Callable[..., tuple[int, Path, str]], photo_root: Path, tmp_path: Path
) -> None:
    small = ("data.image_size=16", "model.hidden=[8]", "trainer.max_epochs=2", "data.roi=[0,0,0.5,1]")
    code, run, said = train("data=folder", f"data.root={photo_root}", *small)
    assert code == 0, said
    inspector = Inspector.load(Run(run), "cpu")
    photo = np.asarray(Image.open(next((photo_root / "Incorrect").iterdir())).convert("RGB"))
    other = photo.copy()
    other[:, -(-photo.shape[1] // 2) :] = 255 - other[:, -(-photo.shape[1] // 2) :]
    assert inspector(photo).logit == inspector(other).logit
    assert "only a region of each photo counts" in (run / "report.html").read_text(encoding="utf-8").lower()
    assert "the region 0% to 50% across" in (run / "model_card.md").read_text(encoding="utf-8")


def drawn(path: Path, shape: tuple[int, int]) -> Path:
    """A mask that leaves the left half."""
    grey = np.zeros(shape, np.uint8)
    grey[:, : shape[1] // 2] = 255
    Image.fromarray(grey).save(path)
    return path


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_mask_hides_what_is_black_in_it(orientation: int, tmp_path: Path) -> None:
    size = (40, 64, 3) if orientation == 1 else (64, 40, 3)
    stored = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    data = in_file(Image.fromarray(stored), orientation=orientation)
    packed = read_mask(drawn(tmp_path / "mask.png", (80, 128)), (16, 24), None)
    plain, hidden = (decode_bytes(data, DecodeSettings(16, 24, mask=mask)) for mask in (None, packed))
    np.testing.assert_array_equal(hidden[:, :, :12], plain[:, :, :12])
    assert (hidden[:, :, 12:] == 128).all()


def test_a_mask_is_cut_to_the_region(tmp_path: Path) -> None:
    packed = read_mask(drawn(tmp_path / "mask.png", (80, 128)), (8, 8), (0.25, 0.0, 1.0, 1.0))
    # a third of the remaining photo is in its left half
    np.testing.assert_array_equal(unpack_mask(packed, (8, 8)).all(0), [1, 1, 1, 0, 0, 0, 0, 0])


def test_a_mask_survives_a_file_and_damage_is_seen(tmp_path: Path) -> None:
    settings = DecodeSettings(16, 24, mask=read_mask(drawn(tmp_path / "mask.png", (16, 24)), (16, 24), None))
    assert DecodeSettings(**json.loads(json.dumps(settings.plain()))) == settings
    for damaged in ("no base64!", settings.mask[:-8] if settings.mask else ""):
        with pytest.raises(UserError, match="mask"):
            DecodeSettings(16, 24, mask=damaged)
    with pytest.raises(UserError, match="another size"):
        DecodeSettings(64, 64, mask=settings.mask)


def test_a_run_with_a_mask_does_not_see_what_it_hides(
    train: Callable[..., tuple[int, Path, str]], photo_root: Path, tmp_path: Path
) -> None:
    small = ("data.image_size=16", "model.hidden=[8]", "trainer.max_epochs=2")
    photo = np.asarray(Image.open(next((photo_root / "Incorrect").iterdir())).convert("RGB"))
    mask = drawn(tmp_path / "mask (1).png", photo.shape[:2])
    code, run, said = train("data=folder", f"data.root={photo_root}", f"data.mask='{mask}'", *small)
    assert code == 0, said
    inspector = Inspector.load(Run(run), "cpu")
    other = photo.copy()
    other[:, photo.shape[1] // 2 + 1 :] = 7
    assert inspector(photo).logit == inspector(other).logit
    assert "only a region of each photo counts" in (run / "report.html").read_text(encoding="utf-8").lower()
    assert "of it the 50% that a mask leaves" in (run / "model_card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("grey", "said"), [(0, "everything"), (255, "nothing"), (None, "cannot be read")])
def test_what_is_no_mask_is_one_line(
    grey: int | None, said: str, train: Callable[..., tuple[int, Path, str]], photo_root: Path, tmp_path: Path
) -> None:
    mask = tmp_path / "mask.png"
    if grey is not None:
        Image.new("L", (20, 20), grey).save(mask)
    code, _, output = train("data=folder", f"data.root={photo_root}", f"data.mask='{mask}'")
    assert code == 2
    assert said in output
    assert output.strip().count("\n") == 0


def test_a_mask_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mask.png")
    with pytest.raises(UserError, match="cannot be read"):
        read_mask(tmp_path / "mask.png", (16, 24), None)
