"""Pixels of every kind of file, against values worked out by hand."""

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps, PngImagePlugin, features

from qc_lightning.core.errors import UserError
from qc_lightning.data import image_file
from qc_lightning.data.decode import IMAGE_SUFFIXES, BadImage, DecodeSettings, decode, decode_bytes, read

EIGHT = DecodeSettings(8, 8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gray(values: object, dtype: object = np.uint8) -> Image.Image:
    """8 x 8 image whose eight columns have these values."""
    return Image.fromarray(np.tile(np.asarray(values, dtype), (8, 1)))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by the book, for the kinds that Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def photo(width: int, height: int) -> Image.Image:
    """A smooth colour photo."""
    coarse = np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def drawing(width: int, height: int) -> Image.Image:
    """Text and thin lines: edges as sharp as they come."""
    rng = np.random.default_rng(2)
    image = Image.new("RGB", (width, height), (235, 235, 230))
    draw = ImageDraw.Draw(image)
    for row in range(0, height, 26):
        draw.text((row % 90, row), "Part 4711-XQ defect HEIGHT 0123456789 MWIL " * (width // 250), fill=(15, 15, 20))
    for _ in range(40):
        ends = [(int(rng.integers(width)), int(rng.integers(height))) for _ in range(2)]
        draw.line(ends, fill=tuple(int(c) for c in rng.integers(0, 256, 3)), width=int(rng.integers(1, 10)))
    return image


def checkerboard(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    white = ((x // 37 + y // 29) % 2 * 255).astype(np.uint8)
    return Image.fromarray(np.stack([white, 255 - white, white], -1))


# --- orientation

STORED = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
# what the tag says about the stored rows and columns, from the EXIF standard: where row 0 and column 0 belong
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


# --- wide gray: 16 bits and float

RAMP = [0, 1, 128, 129, 2000, 4095, 32768, 65535]
FULL_RANGE = [0, 0, 0, 1, 8, 16, 128, 255]  # v * 255 / 65535 = v / 257, rounded
RAMP_12 = [0, 8, 9, 16, 1000, 2048, 4000, 4095]
RANGE_12 = [0, 0, 1, 1, 62, 128, 249, 255]  # v * 255 / 4095 = v / 16.06, rounded


def columns(pixels: np.ndarray) -> list[int]:
    """The values of the eight columns of an image that is gray and the same in every row."""
    assert pixels.shape == (3, 8, 8)
    assert (pixels == pixels[:1, :1]).all()
    return pixels[0, 0].tolist()


def tiff(order: str, bits: int, row: bytes) -> bytes:
    """A gray TIFF of eight such rows, written by the book, for the kinds that Pillow does not write."""
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: 1, 273: 122, 277: 1, 278: 8, 279: 8 * len(row)}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)
    assert len(start) == 122
    return start + row * 8


def wide_files(values: list[int]) -> dict[str, bytes]:
    image = gray(values, np.uint16)
    return {
        "png": encoded(image),
        "tiff": encoded(image, "TIFF"),
        "tiff lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff big endian": tiff(">", 16, np.array(values, ">u2").tobytes()),
        "tiff 32 bit": encoded(gray(values, np.int32), "TIFF"),
    }


@pytest.mark.parametrize("kind", wide_files(RAMP))
def test_16_bit_gray_is_scaled_by_its_real_range(kind: str) -> None:
    assert columns(decode_bytes(wide_files(RAMP)[kind], EIGHT)) == FULL_RANGE
    twelve = DecodeSettings(8, 8, bit_depth=12)
    assert columns(decode_bytes(wide_files(RAMP_12)[kind], twelve)) == RANGE_12
    with pytest.raises(BadImage, match=r"values from 0 to 65535, expected 0 to 4095 for 12 bits"):
        decode_bytes(wide_files(RAMP)[kind], twelve)


def test_files_that_name_their_range_need_no_bit_depth() -> None:
    for depth in (12, 16):
        packed = int("".join(f"{value:03x}" for value in RAMP_12), 16).to_bytes(12)
        assert columns(decode_bytes(tiff("<", 12, packed), DecodeSettings(8, 8, bit_depth=depth))) == RANGE_12
        pgm = b"P5 8 8 4095\n" + np.tile(np.array(RAMP_12, ">u2"), 8).tobytes()
        assert columns(decode_bytes(pgm, DecodeSettings(8, 8, bit_depth=depth))) == RANGE_12
        jp2 = encoded(gray(RAMP, np.uint16), "JPEG2000", irreversible=False)
        assert columns(decode_bytes(jp2, DecodeSettings(8, 8, bit_depth=depth))) == FULL_RANGE


def test_16_bit_white_is_zero() -> None:
    data = bytearray(encoded(gray(RAMP, np.uint16), "TIFF", tiffinfo={262: 0}))
    assert Image.open(io.BytesIO(data)).tag_v2[262] == 0
    assert columns(decode_bytes(bytes(data), EIGHT)) == [255, 255, 255, 254, 247, 239, 127, 0]


def test_16_bit_gray_is_rounded_once_after_the_resize() -> None:
    values = np.zeros((16, 16), np.uint16)
    values[::2] = 257 * 3  # the mean of each output pixel is 1.5 levels; rounded before, 8 bits could only say 1 or 2
    wide = decode_bytes(encoded(Image.fromarray(values)), DecodeSettings(8, 8))
    assert set(np.unique(wide[:, 1:-1])) <= {1, 2}
    values = np.full((16, 16), 128, np.uint16)  # 0.498 levels: nothing
    assert not decode_bytes(encoded(Image.fromarray(values)), DecodeSettings(8, 8)).any()


def test_float_gray_in_0_to_1_only() -> None:
    values = [0, 0.001, 0.002, 0.25, 0.5, 0.75, 0.999, 1]
    assert columns(decode_bytes(encoded(gray(values, np.float32), "TIFF"), EIGHT)) == [0, 0, 1, 64, 128, 191, 255, 255]
    for wrong in (1.5, -0.1, np.nan, np.inf):
        with pytest.raises(BadImage, match="expected 0 to 1 for a float image"):
            decode_bytes(encoded(gray([*values[:7], wrong], np.float32), "TIFF"), EIGHT)


def test_16_bit_colour_keeps_the_high_byte_and_refuses_fewer_bits() -> None:
    rows = b"".join(b"\0" + np.repeat(np.array(RAMP, ">u2"), 3).tobytes() for _ in range(8))
    data = png(8, 8, 16, 2, rows)
    assert columns(decode_bytes(data, EIGHT)) == [value >> 8 for value in RAMP]
    with pytest.raises(BadImage, match="16-bit colour is read with bit_depth 16 only, not 12"):
        decode_bytes(data, DecodeSettings(8, 8, bit_depth=12))


def test_16_bit_gray_with_a_transparent_value() -> None:
    transparent = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 2000)
    transparent += struct.pack(">I", zlib.crc32(transparent[4:]))
    rows = b"".join(b"\0" + np.array(RAMP, ">u2").tobytes() for _ in range(8))
    assert columns(decode_bytes(png(8, 8, 16, 0, rows, transparent), EIGHT)) == [*FULL_RANGE[:4], 255, *FULL_RANGE[5:]]


# --- other colours

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
    assert one_colour(encoded(Image.new("RGBA", (8, 8), (*RED, 0)))) == (255, 255, 255)
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
    # made smaller, a 1-bit image is averaged to grey and not sampled
    fine = Image.fromarray(np.tile(np.array([[0, 1], [1, 0]], bool), (32, 32)))
    assert np.abs(decode_bytes(encoded(fine), EIGHT).astype(int) - 127.5).max() <= 10
    if features.check("littlecms2"):
        white = one_colour(encoded(Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF"))  # L* 100, a* and b* 0
        assert min(white) >= 254


def test_first_frame_counts() -> None:
    red, blue = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (0, 0, 255))
    for kind in ("GIF", "TIFF"):
        assert one_colour(encoded(red, kind, save_all=True, append_images=[blue])) == RED
    mpo = decode_bytes(encoded(red, "MPO", save_all=True, append_images=[blue]), EIGHT)
    assert np.abs(mpo[:, 0, 0].astype(int) - RED).max() <= 6


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_can_be_read(tmp_path: Path, suffix: str) -> None:
    image = Image.new("1" if suffix == ".pbm" else "L" if suffix == ".pgm" else "RGB", (10, 9), 1)
    image.save(tmp_path / f"photo{suffix}")
    pixels = decode(tmp_path / f"photo{suffix}", EIGHT)
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


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
    assert (line == 9).sum() == 3 * 16  # one row of pixels at least
    small = decode_bytes(encoded(Image.new("L", (3, 2), 9)), DecodeSettings(16, 16, "letterbox"))
    assert (small == 9).sum() == 3 * 16 * 11  # enlarged: 2/3 of 16 is 10.7


def test_resize_is_antialiased() -> None:
    stripes = np.tile(np.array([[0], [255]], np.uint8), (128, 256))  # every other row: grey from afar
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
        (GOOD[:100] + bytes([GOOD[100] ^ 1]) + GOOD[101:], "damaged"),
        (png(20_000, 20_000, 8, 0, b""), "too large: 20000 x 20000 pixels, the limit is 178 million"),
        (png(2**31 - 1, 2**31 - 1, 8, 6, b""), "too large"),
        # between Pillow's warning and its error: neither is heard
        (png(12_000, 10_000, 8, 0, b""), "truncated"),
        (b"P6 100000 100000 255\n", "too large"),
    ],
)
def test_bad_data(data: bytes, reason: str) -> None:
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
    monkeypatch.setattr(image_file, "MAX_PIXELS", 4999)
    with pytest.raises(BadImage, match="too large: 100 x 50"):
        decode_bytes(data, EIGHT)
    monkeypatch.undo()
    assert limit == Image.MAX_IMAGE_PIXELS  # importing decode has not changed Pillow for the rest of the process


def test_bad_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
