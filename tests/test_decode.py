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
from qc_lightning.data import decode as decode_module
from qc_lightning.data import image_file
from qc_lightning.data.decode import IMAGE_SUFFIXES, BadImage, DecodeSettings, decode, decode_bytes, read
from qc_lightning.data.wide import bit_depth_note

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


def colour_files(values: list[int]) -> dict[str, bytes]:
    """Columns of gray in files of 16-bit colour, which Pillow does not write."""
    row = np.repeat(np.array(values, ">u2"), 3)
    big, little = row.tobytes() * 8, row.astype("<u2").tobytes() * 8
    return {
        "png": png(8, 8, 16, 2, b"".join(b"\0" + row.tobytes() for _ in range(8))),
        "tiff": tiff_colour("<", little),
        "tiff big endian": tiff_colour(">", big),
        "tiff deflate": tiff_colour("<", zlib.compress(little), compression=8),
        "tiff deflate big endian": tiff_colour(">", zlib.compress(big), compression=8),
    }


def tiff_colour(order: str, pixels: bytes, compression: int = 1, planar: int = 1) -> bytes:
    tags = {
        256: 8, 257: 8, 258: 16, 259: compression, 262: 2, 273: 0, 277: 3, 278: 8, 279: len(pixels), 284: planar,
    }  # fmt: skip
    at = 8 + 2 + 12 * len(tags) + 4
    tags[273] = at + 6
    entries = b""
    for tag, value in tags.items():
        short = tag not in (273, 279)
        count = 3 if tag == 258 else 1
        body = (
            struct.pack(f"{order}I", at)
            if tag == 258
            else struct.pack(f"{order}{'HH' if short else 'I'}", *((value, 0) if short else (value,)))
        )
        entries += struct.pack(f"{order}HHI", tag, 3 if short else 4, count) + body
    start = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)
    return start + struct.pack(f"{order}HHH", 16, 16, 16) + pixels


@pytest.mark.parametrize("kind", colour_files(RAMP))
def test_16_bit_colour(kind: str) -> None:
    """With 16 bits the high byte is kept; with fewer both bytes count, as for gray."""
    assert columns(decode_bytes(colour_files(RAMP)[kind], EIGHT)) == [value >> 8 for value in RAMP]
    twelve = DecodeSettings(8, 8, bit_depth=12)
    assert columns(decode_bytes(colour_files(RAMP_12)[kind], twelve)) == RANGE_12
    with pytest.raises(BadImage, match=r"values from 0 to 65535, expected 0 to 4095 for 12 bits"):
        decode_bytes(colour_files(RAMP)[kind], twelve)


def test_16_bit_colour_keeps_its_colours_apart_and_its_place(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (16, 8, 3)).astype(">u2")
    data = png(8, 16, 16, 2, b"".join(b"\0" + row.tobytes() for row in values))
    found = decode_bytes(data, DecodeSettings(16, 8, bit_depth=12))
    np.testing.assert_array_equal(found, np.rint(values.astype(float) * 255 / 4095).transpose(2, 0, 1))
    (tmp_path / "a.png").write_bytes(data)
    whole = decode_module.decode_whole(tmp_path / "a.png", DecodeSettings(8, 8, bit_depth=12), 100)
    np.testing.assert_array_equal(whole, found.transpose(1, 2, 0))


def test_16_bit_colour_that_pillow_would_mix_up_is_refused() -> None:
    data = tiff_colour("<", np.zeros((3, 8, 8), "<u2").tobytes(), planar=2)
    with pytest.raises(BadImage, match="in planes is not read"):
        decode_bytes(data, EIGHT)
    four = b"".join(b"\0" + np.zeros(32, ">u2").tobytes() for _ in range(8))
    with pytest.raises(BadImage, match="16-bit colour of the kind RGBA is read with bit_depth 16 only"):
        decode_bytes(png(8, 8, 16, 6, four), DecodeSettings(8, 8, bit_depth=12))


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
    # made smaller, a 1-bit image is averaged to grey and not sampled
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
    """Their orientation is not forgotten on the way: under an output that is not square it decides the size."""
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
        (GOOD[:100] + bytes([GOOD[100] ^ 1]) + GOOD[101:], "damaged: the checksum"),
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
    with pytest.raises(BadImage, match=r"too large: 100 x 50 .*; to read it set data\.max_pixels=5000, or max_pixels="):
        decode_bytes(data, DecodeSettings(8, 8, max_pixels=4999))
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


def test_few_bits_in_16_are_noted(tmp_path: Path) -> None:
    """Deep in the noise of 16 bits a 10-bit photo is four grey levels: the setting that helps is proposed."""
    ten = [0, 1, 2, 100, 500, 900, 1000, 1023]
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path in paths:
        gray(ten, np.uint16).save(path)
    (note,) = bit_depth_note(paths, 16)
    assert note.startswith("no value above 1023 of 65535 in 10 photos of 16 bits that were looked at")
    assert note.endswith("set data.bit_depth=10.")
    assert bit_depth_note(paths, 10) == []
    gray(RAMP, np.uint16).save(paths[0])
    assert bit_depth_note(paths, 16) == [], "one bright photo is enough"
    paths[0].write_bytes(colour_files(RAMP_12)["png"])
    (note,) = bit_depth_note(paths[:1], 16)
    assert "data.bit_depth=12" in note
    for path in paths:
        gray([1, 2, 3, 4, 5, 6, 7, 8]).save(path)
    assert bit_depth_note(paths, 16) == bit_depth_note([], 16) == [], "8 bits are no 16"


def test_floats_and_integers_beyond_their_range_say_what_to_do() -> None:
    with pytest.raises(
        BadImage, match="values from 0 to 255, expected 0 to 1 for a float image; save it as 8 or 16 bits"
    ):
        decode_bytes(encoded(gray([0, 1, 2, 3, 4, 5, 6, 255], np.float32), "TIFF"), EIGHT)
    with pytest.raises(BadImage, match=r"expected 0 to 65535 for 16 bits \(bit_depth\); save it as 8 or 16 bits"):
        decode_bytes(encoded(gray([0, 1, 2, 3, 4, 5, 6, 100_000], np.int32), "TIFF"), EIGHT)
