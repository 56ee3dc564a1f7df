"""The pixel store without disk space or memory, killed, and with photos or files that change meanwhile."""

import logging
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grey_photos import COUNT, SMALL, cache_files, check
from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.pixels import pixel_cache as cache_module
from qc_lightning.data.pixels import pixel_store as store_module
from qc_lightning.data.pixels.pixel_cache import clear, size_of
from qc_lightning.data.pixels.pixel_store import open_store
from qc_lightning.data.pixels.unfinished_pixels import unfinished


def photos(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    for index in range(count):
        Image.new("L", (8, 8), index).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


def test_least_recently_used_caches_make_room(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    sets = [photos(tmp_path / name, 5) for name in "abcd"]
    files = []
    for age, paths in zip((300, 200, 100), sets, strict=False):
        open_store(paths, SMALL, "disk", cache)
        (file,) = set(cache_files(cache)) - set(files)
        os.utime(file, (time.time() - age,) * 2)
        files.append(file)
    open_store(sets[0], SMALL, "disk", cache)  # the oldest is used again
    size = files[0].stat().st_size
    open_store(sets[3], SMALL, "disk", cache, limit_bytes=3 * size)
    assert files[1] not in cache_files(cache)
    assert {files[0], files[2]} < set(cache_files(cache))
    assert size_of(cache) == clear(cache) == 3 * size
    assert cache_files(cache) == []


def test_clear_leaves_a_build_in_progress_and_sweeps_dead_ones(tmp_path: Path) -> None:
    dead, deeper, stranger = (
        tmp_path / ".unfinished-b.pixels",
        tmp_path / "key" / ".unfinished-c.npz",
        tmp_path / "notes",
    )
    (tmp_path / "key").mkdir()
    with replacing(tmp_path / "a.pixels") as live:
        for file in (live, dead, deeper, stranger):
            file.write_bytes(b"12345")
        assert clear(tmp_path) == 10
        assert not dead.exists()
        assert not deeper.exists()
        assert live.exists()
    assert clear(tmp_path / "missing") == 0
    assert stranger.exists()


@pytest.mark.parametrize("trouble", ["limit", "disk full", "full while writing", "no folder", "removed at once"])
def test_without_room_on_disk_pixels_stay_in_memory(
    trouble: str,
    paths: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache, limit = tmp_path / "cache", 10**9
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    if trouble == "limit":
        limit = COUNT * 192 - 1
    elif trouble == "disk full":
        usage = namedtuple("usage", "total used free")(10, 10, 0)
        monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: usage)
    elif trouble == "full while writing":
        resource.setrlimit(resource.RLIMIT_FSIZE, (COUNT * 192 - 100, allowed[1]))
    elif trouble == "no folder":
        cache.write_text("a file is in the way")
    else:
        replace = Path.replace
        monkeypatch.setattr(Path, "replace", lambda self, target: replace(self, target).unlink())
    try:
        store = open_store(paths, SMALL, "disk", cache, progress=False, limit_bytes=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    check(store, paths)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no pixel cache on disk" in caplog.text
    assert not cache.is_dir() or cache_files(cache) == []


def test_without_memory_photos_are_decoded_when_used(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "_free_memory", lambda: 1000)
    store = open_store(paths, SMALL, "ram", tmp_path)
    check(store, paths)
    assert "too much for" in caplog.text
    paths[3].unlink()
    with pytest.raises(UserError, match=f"{paths[3].name} was a good photo before"):
        store.pixels([2, 3])


@pytest.mark.parametrize("cache", ["disk", "ram"])
def test_ctrl_c_ends_at_once_and_what_was_decoded_stays(
    cache: str, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []
    real = store_module.read

    def read(path: Path, settings: DecodeSettings) -> object:
        begun.append(path)
        if len(begun) == 20:
            raise KeyboardInterrupt
        time.sleep(0.02 if len(begun) > 20 else 0)
        return real(path, settings)

    monkeypatch.setattr(store_module, "read", read)
    monkeypatch.setattr(store_module, "cores", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        open_store(paths, SMALL, cache, tmp_path / "cache", progress=False)
    assert len(begun) < 30  # neither the waiting tasks nor the rest of the running one
    assert not list((tmp_path / "cache").glob("[!.]*"))
    done = 16 if cache == "disk" else 0  # the first task; the second one was running
    before = len(begun)
    check(open_store(paths, SMALL, cache, tmp_path / "cache", progress=False), paths)
    assert len(begun) - before == COUNT - done
    left = [file.suffix for file in (tmp_path / "cache").glob("*")]
    assert left == ([".pixels"] if cache == "disk" else [])


@pytest.mark.parametrize(
    "damage", ["none", "last line cut", "pixels cut", "pixels changed", "line changed", "no journal"]
)
def test_a_killed_build_is_continued(damage: str, paths: list[Path], tmp_path: Path, reads: list[Path]) -> None:
    """Photos that the pixels and their journal do not both confirm are decoded again."""
    program = """
import os, signal, sys
from pathlib import Path
from qc_lightning.data.pixels import pixel_store as store
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.pixels.unfinished_pixels import UnfinishedPixels
append = UnfinishedPixels.append
def kill(self, *block):
    append(self, *block)
    if len(self.sha256) >= 48:
        os.kill(os.getpid(), signal.SIGKILL)
UnfinishedPixels.append = kill
store.cores = lambda: 1
paths = [Path(line) for line in sys.stdin.read().splitlines()]
store.open_store(paths, DecodeSettings(8, 8), "disk", Path(sys.argv[1]), False)
"""
    cache = tmp_path / "cache"
    text = "\n".join(map(str, paths))
    killed = subprocess.run([sys.executable, "-c", program, str(cache)], input=text, text=True)
    assert killed.returncode == -9
    journal, pixels = sorted(cache.iterdir())
    assert (journal.suffix, pixels.suffix, pixels.stat().st_size) == (".journal", ".pixels", 48 * 192)
    lines = journal.read_bytes().splitlines(keepends=True)
    content = bytearray(pixels.read_bytes())
    kept = {
        "none": 48,
        "last line cut": 32,
        "pixels cut": 32,
        "pixels changed": 16,
        "line changed": 16,
        "no journal": 0,
    }
    if damage == "last line cut":
        journal.write_bytes(b"".join(lines)[:-1])
    elif damage == "pixels cut":
        pixels.write_bytes(content[:-1])
    elif damage == "pixels changed":
        content[17 * 192] ^= 1
        pixels.write_bytes(content)
    elif damage == "line changed":
        journal.write_bytes(lines[0] + lines[1].replace(b'"crc32": ', b'"crc32": 1') + lines[2])
    elif damage == "no journal":
        journal.unlink()
    check(open_store(paths, SMALL, "disk", cache, progress=False), paths)
    assert len(reads) == COUNT - kept[damage]
    assert [file.suffix for file in cache_files(cache)] == [".pixels"]
    check(open_store(paths, SMALL, "disk", cache, progress=False), paths)
    assert len(reads) == COUNT - kept[damage]


def test_a_build_that_nobody_continues_is_swept(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    paths = photos(tmp_path / "photos", 5)
    cache.mkdir()
    with suppress(KeyboardInterrupt), unfinished(cache / "other.pixels", 192) as part:
        part.append(np.zeros((1, 3, 8, 8), np.uint8), ["0"], {})
        raise KeyboardInterrupt
    assert len(list(cache.iterdir())) == 2
    open_store(paths, SMALL, "disk", cache, progress=False)
    assert [file.name[0] == "." for file in cache.iterdir()] == [False]


def test_building_takes_no_memory_for_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("L", (8, 8), 9).save(path)
    settings = DecodeSettings(512, 512)
    tracemalloc.start()
    store = open_store([path] * 150, settings, "disk", tmp_path / "cache", progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pixel_bytes = 150 * 3 * 512 * 512
    workers = store_module.cores()
    assert peak < 6 * workers * 5 * 2**20  # a few tasks of 4 MB for each thread
    assert (workers > 2) or peak < pixel_bytes / 2
    assert (store.pixels([149]) == 9).all()


def test_a_file_that_is_cut_off_while_in_use_is_one_line(tmp_path: Path) -> None:
    """Mapped into memory, it would kill the process (SIGBUS)."""
    paths = photos(tmp_path / "photos", 9)
    store = open_store(paths, SMALL, "disk", tmp_path / "cache")
    (file,) = cache_files(tmp_path / "cache")
    os.truncate(file, 5 * 192 + 7)
    assert store.pixels([4, 0])[:, 0, 0, 0].tolist() == [4, 0]
    with pytest.raises(UserError, match="was cut off while it was in use: start again"):
        store.pixels([5])


@pytest.mark.parametrize("how", ["swapped folders", "replaced", "rewritten", "rewritten within a tick"])
def test_files_of_one_size_and_time_are_told_apart_by_their_bytes(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders of bitmaps with equal sizes and times are swapped: old pixels would have the other label."""
    for value, name in ((10, "a"), (200, "b")):
        photos(tmp_path / name, 3)
        for path in (tmp_path / name).iterdir():
            Image.new("L", (8, 8), value).save(path.with_suffix(".bmp"))
            path.unlink()
    everything = [path for name in "ab" for path in sorted((tmp_path / name).iterdir())]

    def stamp() -> None:
        for path in everything:
            os.utime(path, ns=(10**18, 10**18))

    def grey() -> list[int]:
        return open_store(everything, SMALL, "disk", tmp_path / "cache").pixels(range(6))[:, 0, 0, 0].tolist()

    if how == "rewritten within a tick":  # a file system with synthetic inodes and without ctime
        monkeypatch.setattr(cache_module, "stamp_of", lambda path: None)
    stamp()
    assert grey() == [10] * 3 + [200] * 3
    if how == "swapped folders":
        (tmp_path / "a").rename(tmp_path / "x")
        (tmp_path / "b").rename(tmp_path / "a")
        (tmp_path / "x").rename(tmp_path / "b")
        expected = [200] * 3 + [10] * 3
    else:
        new = tmp_path / "new.bmp" if how == "replaced" else everything[0]
        Image.new("L", (8, 8), 77).save(new)
        new.replace(everything[0])
        expected = [77, 10, 10] + [200] * 3
    stamp()
    assert grey() == expected


def test_photos_that_change_while_they_are_decoded(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store_module.read

    def reading(path: Path, settings: DecodeSettings) -> object:
        if path == paths[-1]:
            Image.new("L", (9, 9), 1).save(paths[0])
        return read(path, settings)

    monkeypatch.setattr(store_module, "read", reading)
    with pytest.raises(UserError, match="photos have changed while they were decoded: start again"):
        open_store(paths, SMALL, "disk", tmp_path / "cache", progress=False)
    assert cache_files(tmp_path / "cache") == []
