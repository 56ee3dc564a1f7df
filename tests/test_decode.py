"""Orientation, size and damage of every kind of file, compared with hand-computed values."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from images import EIGHT, checkerboard, drawing, encoded, photo, png
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding import image_file
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode, decode_bytes, read

# --- orientation

STORED = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
# meaning of the tag by the EXIF standard: the sides of stored row 0 and column 0
UPRIGHT = {
    1: STORED,
    2: np.fliplr(STORED),
    3: np.rot90(STORED, 2),
    4: np.flipud(STORED),
    5: STORED.swapaxes(0, 1),
    6: np.rot90(STORED, -1),
    7: np.rot90(STORED, 2).swapaxes(0, 1),
    8: np.rot90(STORED),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(STORED), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decode_bytes(data, EIGHT), UPRIGHT[orientation].transpose(2, 0, 1))


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_photos_are_turned_as_pillow_turns_them(kind: str, orientation: int, resize: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(400, 240), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = decode_bytes(encoded(upright), DecodeSettings(32, 32, resize))
    pixels = decode_bytes(data, DecodeSettings(32, 32, resize))
    assert np.abs(pixels.astype(int) - expected).max() <= 3


def test_orientation_in_xmp_and_nonsense_in_exif() -> None:
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="3"/></x:xmpmeta>')
    data = encoded(Image.fromarray(STORED), pnginfo=xmp)
    np.testing.assert_array_equal(decode_bytes(data, EIGHT), UPRIGHT[3].transpose(2, 0, 1))
    for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x2a\0\0\0\0\0\0\0"):
        data = encoded(Image.fromarray(STORED), "WEBP", lossless=True, exif=exif)
        np.testing.assert_array_equal(decode_bytes(data, EIGHT), UPRIGHT[1].transpose(2, 0, 1))


# --- geometry


def test_squash_keeps_everything_and_letterbox_the_aspect() -> None:
    image = Image.new("RGB", (160, 80), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 80, 80))
    squashed = decode_bytes(encoded(image), DecodeSettings(16, 16))
    assert (squashed[:, :, :7] == 255).all()
    assert (squashed[:, :, 9:] == 0).all()
    boxed = decode_bytes(encoded(image), DecodeSettings(16, 16, "letterbox"))
    assert (boxed[:, :4] == 128).all()
    assert (boxed[:, 12:] == 128).all()
    np.testing.assert_array_equal(boxed[:, 4:12, :7], 255)
    np.testing.assert_array_equal(boxed[:, 4:12, 9:], 0)
    upright = decode_bytes(encoded(image.rotate(90, expand=True)), DecodeSettings(16, 16, "letterbox"))
    np.testing.assert_array_equal(upright, np.rot90(boxed, axes=(1, 2)))


def test_letterbox_of_extreme_and_small_photos() -> None:
    line = decode_bytes(encoded(Image.new("L", (1000, 1), 9)), DecodeSettings(16, 16, "letterbox"))
    assert (line == 9).sum() == 3 * 16  # at least one row of pixels
    small = decode_bytes(encoded(Image.new("L", (3, 2), 9)), DecodeSettings(16, 16, "letterbox"))
    assert (small == 9).sum() == 3 * 16 * 11  # enlarged: 2/3 of 16 is 10.7


def test_resize_is_antialiased() -> None:
    stripes = np.tile(np.array([[0], [255]], np.uint8), (128, 256))  # every other row: grey when reduced
    assert (
        np.abs(decode_bytes(encoded(Image.fromarray(stripes)), DecodeSettings(16, 16)).astype(int) - 127.5).max() <= 9
    )


# The bounds that the docstring of decode.py states, on photos a quarter as large.
@pytest.mark.parametrize(("make", "size", "most"), [(photo, 64, 2), (drawing, 64, 14), (checkerboard, 100, 14)])
def test_draft_against_full_decode(make: object, size: int, most: int) -> None:
    image = make(2000, 1500)
    data = encoded(image, "JPEG", quality=92)
    full = Image.open(io.BytesIO(data)).resize((size, size), Image.Resampling.BILINEAR)
    difference = np.abs(
        decode_bytes(data, DecodeSettings(size, size)).astype(int) - np.asarray(full).transpose(2, 0, 1)
    )
    assert difference.max() <= most
    assert difference.mean() <= 2.1


def test_large_jpegs_are_decoded_small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *a, **k: sizes.append(self.size) or resize(self, *a, **k))
    decode_bytes(encoded(Image.new("RGB", (2000, 1500)), "JPEG"), DecodeSettings(64, 64))
    assert sizes == [(250, 188)]  # 1/8


# --- bad files

GOOD = encoded(Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"x", "not an image"),
        (b"These are not pixels." * 50, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not an image"),
        (GOOD[: len(GOOD) // 2], "truncated"),
        (GOOD[:20], "truncated"),
        (GOOD[:100] + bytes([GOOD[100] ^ 1]) + GOOD[101:], "damaged: the checksum"),
        (png(20_000, 20_000, 8, 0, b""), "too large: 20000 x 20000 pixels, the limit is 178 million"),
        (png(2**31 - 1, 2**31 - 1, 8, 6, b""), "too large"),
        # between Pillow's warning and its error: neither appears
        (png(12_000, 10_000, 8, 0, b""), "truncated"),
        (b"P6 100000 100000 255\n", "too large"),
    ],
)
def test_bytes_that_are_no_complete_image_are_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as caught:
        decode_bytes(data, EIGHT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000"])
def test_half_a_file_is_bad(kind: str) -> None:
    data = encoded(photo(150, 120), kind)
    with pytest.raises(BadImage):
        decode_bytes(data[: len(data) // 2], EIGHT)


def test_a_photo_larger_than_pillows_warning_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    data = encoded(Image.new("L", (100, 50), 7))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # 5000 pixels: Image.open would warn, an error in tests
    assert (decode_bytes(data, EIGHT) == 7).all()
    with pytest.raises(BadImage, match=r"too large: 100 x 50 .*; to read it set data\.max_pixels=5000, or max_pixels="):
        decode_bytes(data, DecodeSettings(8, 8, max_pixels=4999))
    monkeypatch.undo()
    assert limit == Image.MAX_IMAGE_PIXELS  # importing decode has not changed Pillow for the rest of the process


def test_a_path_that_is_no_regular_file_is_refused_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "good.png").write_bytes(GOOD)
    for name, reason in {
        "pipe.png": "not a file",
        "folder.png": "a folder, not a photo",
        "gone.png": "no such file",
    }.items():
        with pytest.raises(BadImage, match=reason):
            decode(tmp_path / name, EIGHT)
    monkeypatch.setattr(image_file, "MAX_BYTES", 100)
    with pytest.raises(BadImage, match="limit"):
        read(tmp_path / "good.png", EIGHT)


def test_read_gives_pixels_and_digest(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(GOOD)
    pixels, digest = read(tmp_path / "good.png", EIGHT)
    np.testing.assert_array_equal(pixels, decode_bytes(GOOD, EIGHT))
    assert digest == hashlib.sha256(GOOD).hexdigest()


@pytest.mark.parametrize("wrong", [{"height": 7}, {"width": 8193}, {"resize": "crop"}, {"bit_depth": 8}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))}.* must be"):
        DecodeSettings(**wrong)
