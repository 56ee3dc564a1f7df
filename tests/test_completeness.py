"""Files with missing pixels are refused, good files of every kind are not."""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode, decode_bytes

SETTINGS = [DecodeSettings(16, 16), DecodeSettings(512, 512)]  # at a reduced and at full scale


def scene(side: tuple[int, int], seed: int = 0) -> Image.Image:
    """A part on a bright background, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: side[1], : side[0]] / max(side)
    grey = 120 + 80 * np.sin(7 * x + seed) * np.cos(5 * y) + 6 * rng.standard_normal((side[1], side[0]))
    return Image.fromarray(np.clip(grey[..., None] + [0, 10, -10], 1, 254).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


KINDS = {
    "jpeg": ("JPEG", {}),
    "jpeg 4:4:4": ("JPEG", {"subsampling": 0, "quality": 95}),
    "jpeg 4:2:2": ("JPEG", {"subsampling": 1}),
    "jpeg optimized": ("JPEG", {"optimize": True, "quality": 30}),
    "jpeg restart": ("JPEG", {"restart_marker_rows": 1}),
    "jpeg progressive": ("JPEG", {"progressive": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff jpeg": ("TIFF", {"compression": "jpeg"}),
    "webp": ("WEBP", {}),
    "webp lossless": ("WEBP", {"lossless": True}),
    "png": ("PNG", {}),
    "png stored": ("PNG", {"compress_level": 0}),
    "ppm": ("PPM", {}),
}
SIDES = [(200, 160), (97, 131), (64, 48)]


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_read(kind: str) -> None:
    name, options = KINDS[kind]
    images = [scene(side) for side in [*SIDES, (9, 8), (8, 300), (1500, 900)]]
    images += [image.convert("L") for image in images]
    flat, disc, bar = (Image.new("RGB", (200, 160)) for _ in range(3))
    y, x = np.mgrid[:160, :200]
    round_part = np.where((x - 100) ** 2 + (y - 70) ** 2 < 60**2, 150, 0)
    disc = Image.fromarray(np.repeat(round_part[..., None], 3, 2).astype(np.uint8))
    bar.paste(scene((200, 90)), (0, 0))
    for image in [*images, flat, disc, disc.rotate(180), bar, Image.new("L", (300, 300), 255)]:
        for settings in SETTINGS:
            decode_bytes(encoded(image, name, **options), settings)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("kind", list(KINDS))
def test_files_whose_rest_is_zeros_are_refused(kind: str, part: float) -> None:
    name, options = KINDS[kind]
    for seed, side in enumerate(SIDES):
        data = encoded(scene(side, seed), name, **options)
        cut = len(data) - int((1 - part) * side[1] + 0.5) * ((3 * side[0] + 3) // 4 * 4) - side[0]  # mid-row if raw
        cut = cut if kind in ("bmp", "tiff", "ppm") else int(part * len(data))
        for settings in SETTINGS:
            with pytest.raises(BadImage):
                decode_bytes(data[:cut] + bytes(len(data) - cut), settings)


def test_a_tiff_whose_jpeg_tables_are_zeros_is_refused() -> None:
    """They follow the pixels, and zeros in them give other pixels."""
    data = encoded(scene((64, 48)), "TIFF", compression="jpeg")
    for missing in range(20, 300, 20):
        with pytest.raises(BadImage):
            decode_bytes(data[:-missing] + bytes(missing), SETTINGS[0])


@pytest.mark.parametrize("part", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("jpeg") and "progressive" not in kind])
def test_jpegs_that_were_cut_and_closed_are_refused(kind: str, part: float) -> None:
    """libjpeg fills the rest with the last colour."""
    name, options = KINDS[kind]
    for seed, side in enumerate([(200, 160), (400, 300)]):
        data = encoded(scene(side, seed), name, **options)
        for settings in SETTINGS:
            with pytest.raises(BadImage, match="truncated"):
                decode_bytes(data[: int(part * len(data))].rstrip(b"\xff") + b"\xff\xd9", settings)


@pytest.mark.parametrize("missing", [60, 150, 400])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("jpeg") and "progressive" not in kind])
def test_jpegs_that_were_cut_in_their_last_rows_and_closed_are_refused(kind: str, missing: int) -> None:
    name, options = KINDS[kind]
    for seed, side in enumerate([(200, 160), (400, 300), (97, 131)]):
        for image in (scene(side, seed), scene(side, seed).convert("L")):
            data = encoded(image, name, **options)
            for settings in SETTINGS:
                with pytest.raises(BadImage, match="its data ends before the photo does"):
                    decode_bytes(data[: -missing - 2].rstrip(b"\xff") + b"\xff\xd9", settings)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("jpeg")])
def test_whole_photos_that_end_in_the_grey_of_missing_blocks_are_read(kind: str) -> None:
    name, options = KINDS[kind]
    for side in SIDES:
        grey = scene(side)
        grey.paste((128, 128, 128), (0, side[1] // 3, *side))
        for image in (grey, grey.convert("L"), Image.new("RGB", side, (128, 128, 128)), Image.new("L", side, 128)):
            for settings in SETTINGS:
                decode_bytes(encoded(image, name, **options), settings)


def test_progressive_jpegs_without_all_scans_are_refused() -> None:
    """A file whose last scan was cut short and closed is not detected: it is a photo with less detail."""
    data = encoded(scene((400, 300)), "JPEG", progressive=True)
    with pytest.raises(BadImage, match="truncated: scans are missing"):
        decode_bytes(data[: len(data) // 4].rstrip(b"\xff") + b"\xff\xd9", SETTINGS[0])


def test_trailers_and_padding_behind_a_photo_do_no_harm() -> None:
    data = encoded(scene((200, 160)), "JPEG")
    for tail in (bytes(5000), b"trailer of a phone" * 9, data):
        assert (decode_bytes(data + tail, SETTINGS[0]) == decode_bytes(data, SETTINGS[0])).all()
    thumbnail = Image.Exif()
    thumbnail[0x9286] = data[:2000] + b"\xff\xd9" + b"x"  # a JPEG inside the photo's metadata
    decode_bytes(encoded(scene((200, 160)), "JPEG", exif=thumbnail), SETTINGS[0])


@pytest.mark.slow
def test_none_of_the_projects_own_photos_is_refused() -> None:
    from qc_lightning.data.parts.photos import render_part

    for index in range(30):
        image = Image.fromarray(render_part(index, 0).image)
        for name, options in KINDS.values():
            decode_bytes(encoded(image, name, **options), SETTINGS[0])
    spec = find_spec("elpv_dataset")
    if spec is not None and spec.origin is not None:
        photos = sorted((Path(spec.origin).parent / "data" / "images").iterdir())
        for path in photos[::4]:
            decode(path, SETTINGS[0])
        for path in photos[::200]:
            for name, options in KINDS.values():
                decode_bytes(encoded(Image.open(path), name, **options), SETTINGS[0])
