"""List and clear the cache, as a user does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qc_lightning import cache


def test_what_is_kept_is_shown_and_cleared(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, features = tmp_path / "pixels" / "a.pixels", tmp_path / "features" / "key" / "b.npz"
    being_written, photo = features.with_name(".b.npz-x.npz"), tmp_path / "parts" / "photo.jpg"
    killed_render = tmp_path / "parts" / ".unfinished-dead" / "Correct" / "photo.jpg"
    sizes = {pixels: 3_000_000, features: 2_000_000, being_written: 7, photo: 7, killed_render: 7}
    for file, size in sizes.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))
    assert call(cache.main, f"cache_dir={tmp_path}") == 0
    shown = capsys.readouterr().out
    assert "decoded photos: 3.0 MB" in shown
    assert "features of pretrained networks: 2.0 MB" in shown
    assert pixels.exists()
    assert call(cache.main, f"cache_dir={tmp_path}", "clear=true") == 0
    assert "3.0 MB freed" in capsys.readouterr().out
    assert not pixels.exists()
    assert not features.exists()
    assert being_written.exists(), "a run is at work on it"
    assert [path.name for path in photo.parent.iterdir()] == [photo.name], "rendered photos are kept, half sets are not"


def test_a_limit_removes_the_longest_unused(train: Callable[..., tuple[int, Path, str]], photo_root: Path) -> None:
    kept = photo_root.parent / "cache"
    arguments = ["data=folder", f"data.root={photo_root}", f"data.cache_dir={kept}", "trainer.max_epochs=1"]
    arguments += ["report=false", "data.cache_limit=0.0006"]  # room for one set of 40 photos of 64 x 64, not for two
    for size in (64, 63):
        code, _, output = train(*arguments, f"data.image_size={size}")
        assert code == 0, output
        assert len(list((kept / "pixels").glob("*.pixels"))) == 1
