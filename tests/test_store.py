"""The pixel store: equal pixels from disk, from memory and decoded again; the cache is never trusted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from grey_photos import BAD, COUNT, SMALL, cache_files, check, good
from qc_lightning.data.decoding.decode import DecodeSettings, decode
from qc_lightning.data.pixels import pixel_cache as cache_module
from qc_lightning.data.pixels.pixel_store import PixelStore, open_store


@pytest.mark.parametrize("cache", ["disk", "ram", "off"])
def test_pixels_digests_and_bad_files(cache: str, paths: list[Path], tmp_path: Path) -> None:
    store = open_store(paths, SMALL, cache, tmp_path / "cache", progress=False)
    check(store, paths)
    for wanted in ([BAD], [0, BAD, 1], np.array([BAD - COUNT])):
        with pytest.raises(ValueError, match=r"photo 33 is bad .* not an image"):
            store.pixels(wanted)
    with pytest.raises(IndexError):
        store.pixels([COUNT])
    assert store.pixels([]).shape == (0, 3, 8, 8)
    assert (tmp_path / "cache").exists() == (cache == "disk")
    assert len(open_store([], SMALL, cache, tmp_path / "cache")) == 0


def test_pixels_are_those_of_decode(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(pixels).save(path)
    settings = DecodeSettings(16, 16, "letterbox")
    for cache in ("disk", "disk", "ram", "off"):
        store = open_store([path], settings, cache, tmp_path / "cache")
        np.testing.assert_array_equal(store.pixels([0])[0], decode(path, settings))


@pytest.fixture(scope="module")
def three_stores(tmp_path_factory: pytest.TempPathFactory) -> list[PixelStore]:
    folder = tmp_path_factory.mktemp("grey")
    paths = [folder / f"{value}.png" for value in range(40)]
    for value, path in enumerate(paths):
        Image.new("L", (8, 8), value).save(path)
    return [open_store(paths, SMALL, cache, folder / "cache", progress=False) for cache in ("disk", "ram", "off")]


@given(indices=st.lists(st.integers(0, 39), max_size=60))
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_in_the_order_asked_for(three_stores: list[PixelStore], indices: list[int]) -> None:
    for store in three_stores:
        for wanted in (indices, np.array(indices, np.int64)):
            assert store.pixels(wanted)[:, 0, 0, 0].tolist() == indices


def test_rows_are_copies(three_stores: list[PixelStore]) -> None:
    for store in three_stores:
        store.pixels([7])[:] = 99
        assert (store.pixels([7]) == 7).all()


def test_second_opening_decodes_nothing(paths: list[Path], tmp_path: Path, reads: list[Path]) -> None:
    first = open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)
    assert len(reads) == COUNT
    (file,) = cache_files(tmp_path / "cache")
    content = file.read_bytes()
    second = open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)
    assert len(reads) == COUNT
    np.testing.assert_array_equal(first.pixels(good(first)), second.pixels(good(second)))
    check(second, paths)
    assert file.read_bytes() == content


def test_relative_paths_are_the_same_photos(
    paths: list[Path], tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)
    monkeypatch.chdir(tmp_path)
    open_store([path.relative_to(tmp_path) for path in paths], SMALL, "disk", tmp_path / "cache", progress=False)
    assert len(reads) == COUNT


def grow(path: Path) -> None:
    stamp = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(stamp, stamp))


@pytest.mark.parametrize(
    "change", [lambda path: os.utime(path, ns=(1, 1)), grow, Path.unlink], ids=["touched", "grown", "removed"]
)
def test_a_changed_photo_is_decoded_again(change: object, paths: list[Path], tmp_path: Path, reads: list[Path]) -> None:
    open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)
    change(paths[5])
    store = open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)
    assert len(reads) == 2 * COUNT
    assert (5 in store.bad) == (not paths[5].exists())


@pytest.mark.parametrize("other", [{"height": 9}, {"resize": "letterbox"}, {"bit_depth": 12}, "pillow", "format"])
def test_anything_that_changes_pixels_is_in_the_key(
    other: object, paths: list[Path], tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)
    settings = SMALL
    if isinstance(other, dict):
        settings = DecodeSettings(**{"height": 8, "width": 8} | other)
    elif other == "pillow":
        monkeypatch.setattr("PIL.__version__", "0.0")
    else:
        monkeypatch.setattr(cache_module, "_FORMAT", 0)
    open_store(paths, settings, "disk", tmp_path / "cache", progress=False)
    assert len(reads) == 2 * COUNT


def test_photos_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    paths = [tmp_path / "a.bmp", tmp_path / "b.bmp"]
    for value, path in enumerate(paths):
        Image.new("L", (8, 8), value).save(path)
        os.utime(path, ns=(10**18, 10**18))
    assert open_store(paths, SMALL, "disk", tmp_path / "cache").pixels([0, 1])[:, 0, 0, 0].tolist() == [0, 1]
    assert open_store(paths[::-1], SMALL, "disk", tmp_path / "cache").pixels([0, 1])[:, 0, 0, 0].tolist() == [1, 0]


def flip(position: int) -> object:
    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[position] ^= 1
        return bytes(changed)

    return change


def foreign(content: bytes) -> bytes:
    """Complete and undamaged, but recorded for other photos."""
    pixels = COUNT * 3 * 8 * 8
    text = json.loads(content[pixels : -cache_module._TAIL.size])
    text = json.dumps(text | {"key": "0" * 64}).encode()
    return content[:pixels] + text + cache_module._TAIL.pack(len(text), cache_module.zlib.crc32(text), b"QCPIXELS")


@pytest.mark.parametrize(
    "damage",
    [
        *(flip(position) for position in (0, 5000, COUNT * 192 - 1, COUNT * 192 + 3, -30, -20, -15, -10, -1)),
        *(lambda content, cut=cut: content[:-cut] for cut in (1, 20, 5000)),
        lambda content: content[1:],
        lambda content: content[192:],
        lambda content: content + b"\0",
        lambda content: b"",
        foreign,
    ],
)
def test_a_damaged_cache_is_built_again(
    damage: object, paths: list[Path], tmp_path: Path, reads: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)
    (file,) = cache_files(tmp_path / "cache")
    content = file.read_bytes()
    file.write_bytes(damage(content))
    check(open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False), paths)
    assert len(reads) == 2 * COUNT
    assert "damaged" in caplog.text
    assert file.read_bytes() == content
    assert cache_files(tmp_path / "cache") == [file]


def test_two_processes_at_once(paths: list[Path], tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from qc_lightning.data.pixels import pixel_store as store
from qc_lightning.data.decoding.decode import DecodeSettings
read = store.read
store.read = lambda *a: (time.sleep(0.02), read(*a))[1]  # long enough that both are at it
paths = [Path(line) for line in sys.stdin.read().splitlines()]
found = store.open_store(paths, DecodeSettings(8, 8), "disk", Path(sys.argv[1]), progress=False)
print(sum(int(row.sum()) for row in found.pixels([i for i in range(len(paths)) if i not in found.bad])), len(found.bad))
"""
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "cache")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        process.stdin.write("\n".join(map(str, paths)))
        process.stdin.close()
        process.stdin = None
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (out.split(), err) == ([str(192 * (sum(range(COUNT)) - BAD)), "1"], "")
    assert [file.suffix for file in cache_files(tmp_path / "cache")] == [".pixels"]


def test_a_cache_that_may_only_be_read_is_used(
    paths: list[Path], tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)

    def utime(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache_module.os, "utime", utime)
    check(open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False), paths)
    assert len(reads) == COUNT


def test_bar_is_for_long_waits_only(paths: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(paths, SMALL, "ram", tmp_path)
    assert capsys.readouterr() == ("", "")


def test_neither_decoding_nor_the_store_imports_torch() -> None:
    program = (
        "import sys, qc_lightning.data.pixels.pixel_store; "
        "print([m for m in ('torch', 'lightning') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
