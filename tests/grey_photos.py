"""Uniformly grey photos for the pixel store, and its expected content; a plugin of conftest.py."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.pixels import pixel_store as store_module
from qc_lightning.data.pixels.pixel_store import PixelStore

SMALL = DecodeSettings(8, 8)
COUNT, BAD = 70, 33  # several tasks of 16


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """70 uniform photos of grey 0, 1, ..., not in the order of their names; number 33 is not a photo."""
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{(index * 37) % COUNT:03d}.png" for index in range(COUNT)]
    for index, path in enumerate(paths):
        Image.new("L", (12, 10), index).save(path)
    paths[BAD].write_text("not a photo")
    return paths


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files decoded to build a store, from now on."""
    seen: list[Path] = []
    read = store_module.read
    monkeypatch.setattr(store_module, "read", lambda path, settings: seen.append(path) or read(path, settings))
    return seen


def good(store: PixelStore) -> list[int]:
    return [index for index in range(len(store)) if index not in store.bad]


def check(store: PixelStore, paths: list[Path]) -> None:
    assert len(store) == len(paths) == COUNT
    assert store.bad == {BAD: "not an image of a known format"}
    rows = store.pixels(good(store))
    assert rows.dtype == np.uint8
    assert rows.flags.writeable
    np.testing.assert_array_equal(
        rows, np.broadcast_to(np.array(good(store)).reshape(-1, 1, 1, 1), (COUNT - 1, 3, 8, 8))
    )
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    digests[BAD] = ""
    assert store.sha256 == digests


def cache_files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())
