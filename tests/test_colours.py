"""Pixels of palettes, transparency, CMYK and pages, compared with hand-computed values."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from images import EIGHT, encoded
from qc_lightning.data.decoding.decode import IMAGE_SUFFIXES, BadImage, DecodeSettings, decode, decode_bytes

RED, HALF = (200, 40, 20), 128


def one_colour(data: bytes) -> tuple[int, ...]:
    pixels = decode_bytes(data, EIGHT)
    assert (pixels == pixels[:, :1, :1]).all()
    return tuple(pixels[:, 0, 0].tolist())


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([9, 9, 9, *RED])
    assert one_colour(encoded(image)) == RED
    assert one_colour(encoded(image, "GIF")) == RED
    assert one_colour(encoded(image, transparency=1)) == (255, 255, 255)
    assert one_colour(encoded(image, "GIF", transparency=1)) == (255, 255, 255)
    assert one_colour(encoded(image, transparency=b"\0\x80")) == OVER_WHITE


# 128/255 of the colour on 127/255 of white: 200 -> 227.4, 40 -> 147.1, 20 -> 137.0
OVER_WHITE = (227, 147, 137)


def test_alpha_is_laid_on_white() -> None:
    assert one_colour(encoded(Image.new("RGBA", (8, 8), (*RED, 255)))) == RED
    assert one_colour(encoded(Image.new("RGBA", (8, 8), (*RED, 0)))) == RED, "a channel that the camera does not use"
    half = Image.new("RGBA", (8, 8), (*RED, 0))
    half.paste((0, 0, 0, 255), (0, 0, 8, 4))
    assert (decode_bytes(encoded(half), EIGHT)[:, 4:] == 255).all()
    assert one_colour(encoded(Image.new("RGBA", (8, 8), (*RED, HALF)))) == OVER_WHITE
    assert one_colour(encoded(Image.new("LA", (8, 8), (40, HALF)))) == (147, 147, 147)
    assert one_colour(encoded(Image.new("RGB", (8, 8), RED), transparency=RED)) == (255, 255, 255)
    assert one_colour(encoded(Image.new("L", (8, 8), 40), transparency=40)) == (255, 255, 255)


def test_alpha_edges_do_not_darken() -> None:
    """A colour behind alpha 0 must not shine through where a resize mixes it with the photo."""
    image = np.zeros((64, 64, 4), np.uint8)  # hidden black
    image[:, :33] = (255, 255, 255, 255)
    assert decode_bytes(encoded(Image.fromarray(image)), EIGHT).min() == 255


def test_cmyk_one_bit_and_lab() -> None:
    # (255 - ink) * (255 - black) / 255: cyan 100 -> 155 * 204 / 255 = 124; 255 - 50 -> 164; 255 -> 204
    inks = Image.new("CMYK", (8, 8), (100, 50, 0, 51))
    for data in (encoded(inks, "TIFF"), encoded(inks, "JPEG", quality=100)):
        assert np.abs(np.subtract(one_colour(data), (124, 164, 204))).max() <= 2
    dots = np.array([[0, 1] * 4, [1, 0] * 4] * 4, bool)
    bits = decode_bytes(encoded(Image.fromarray(dots)), EIGHT)
    np.testing.assert_array_equal(bits, np.broadcast_to(dots * 255, (3, 8, 8)))
    # a reduced 1-bit image is averaged to grey, not sampled
    fine = Image.fromarray(np.tile(np.array([[0, 1], [1, 0]], bool), (32, 32)))
    assert np.abs(decode_bytes(encoded(fine), EIGHT).astype(int) - 127.5).max() <= 10
    if features.check("littlecms2"):
        white = one_colour(encoded(Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF"))  # L* 100, a* and b* 0
        assert min(white) >= 254


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_several_pages_or_frames_are_refused(kind: str) -> None:
    red, blue = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (0, 0, 255))
    with pytest.raises(BadImage, match="2 pages: save each" if kind == "TIFF" else "2 frames: save the one"):
        decode_bytes(encoded(red, kind, save_all=True, append_images=[blue]), EIGHT)


def test_the_photo_of_an_mpo_is_its_first_frame() -> None:
    red, blue = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (0, 0, 255))
    mpo = decode_bytes(encoded(red, "MPO", save_all=True, append_images=[blue]), EIGHT)
    assert np.abs(mpo[:, 0, 0].astype(int) - RED).max() <= 6


def test_thumbnails_in_a_tiff_are_no_photos() -> None:
    red, small = Image.new("RGB", (40, 32), RED), Image.new("RGB", (10, 8), (0, 0, 255))
    for pages in ([red, small], [small, red], [small, red, small]):
        data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
        assert one_colour(data) == RED, "known by its size"
    reduced = Image.new("RGB", (40, 32), (0, 0, 255))
    reduced.encoderinfo = {"tiffinfo": {254: 1}}
    assert one_colour(encoded(red, "TIFF", save_all=True, append_images=[reduced])) == RED, "known by its tag"
    other_view = Image.new("RGB", (12, 8), (0, 0, 255))
    with pytest.raises(BadImage, match="2 pages"):
        decode_bytes(encoded(red, "TIFF", save_all=True, append_images=[other_view]), EIGHT)


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "I;16"])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_turned_photos_with_transparency_or_16_bits(kind: str, orientation: int, resize: str) -> None:
    """Their orientation is kept: with an output that is not square it determines the size."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("I;16", (40, 20), 65535) if kind == "I;16" else Image.new("RGB", (40, 20), "white").convert(kind)
    pixels = decode_bytes(encoded(image, exif=exif), DecodeSettings(32, 16, resize))
    high, wide = (40, 20) if orientation > 1 else (20, 40)
    scale = min(32 / high, 16 / wide)
    shape = (round(high * scale), round(wide * scale)) if resize == "letterbox" else (32, 16)
    assert pixels.shape == (3, 32, 16)
    assert (pixels == 255).sum() == 3 * shape[0] * shape[1]
    assert (pixels[:, 16, 8] == 255).all(), "in the middle"


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_can_be_read(tmp_path: Path, suffix: str) -> None:
    image = Image.new("1" if suffix == ".pbm" else "L" if suffix == ".pgm" else "RGB", (10, 9), 1)
    image.save(tmp_path / f"photo{suffix}")
    pixels = decode(tmp_path / f"photo{suffix}", EIGHT)
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
