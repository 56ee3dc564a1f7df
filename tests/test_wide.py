"""Pixels of 16-bit and float files, compared with hand-computed values."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import EIGHT, encoded, gray, png
from qc_lightning.data.decoding import decode as decode_module
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode_bytes
from qc_lightning.data.decoding.wide import bit_depth_note

RAMP = [0, 1, 128, 129, 2000, 4095, 32768, 65535]
FULL_RANGE = [0, 0, 0, 1, 8, 16, 128, 255]  # v * 255 / 65535 = v / 257, rounded
RAMP_12 = [0, 8, 9, 16, 1000, 2048, 4000, 4095]
RANGE_12 = [0, 0, 1, 1, 62, 128, 249, 255]  # v * 255 / 4095 = v / 16.06, rounded


def columns(pixels: np.ndarray) -> list[int]:
    """The eight column values of a gray image with equal rows."""
    assert pixels.shape == (3, 8, 8)
    assert (pixels == pixels[:1, :1]).all()
    return pixels[0, 0].tolist()


def tiff(order: str, bits: int, row: bytes) -> bytes:
    """A gray TIFF of eight such rows, written by its specification, for kinds that Pillow does not write."""
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
def test_16_bit_colour_keeps_its_high_byte_or_its_range(kind: str) -> None:
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
