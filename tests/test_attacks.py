"""Broken files and kills: no traceback, no hang, no torn file; `make torture` runs the same for longer."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_files import stream
from forked import command, import_all
from kills import Phase, kill_and_continue, unbroken
from predictions import save
from qc_lightning.core.atomic import replacing, write_json
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode_bytes

SETTINGS = DecodeSettings(24, 16, "letterbox")


def check(data: bytes) -> bool:
    """Whether a file is read; it must be refused with one line or give pixels of the right shape."""
    try:
        pixels = decode_bytes(data, SETTINGS)
    except BadImage as error:
        reason = str(error)
    else:
        reason = ""
    if reason:
        assert "\n" not in reason
        return False
    assert pixels.shape == (3, 24, 16)
    assert pixels.dtype == np.uint8
    return True


@pytest.mark.filterwarnings("ignore:::PIL")
def test_broken_photos_give_pixels_or_one_line() -> None:
    for _, how, data in itertools.islice(stream(seed=1), 700):
        read = check(data)
        if how in ("cut", "zero rest") and data[:2] == b"\x89P":
            assert not read or data.endswith(b"IEND\xaeB`\x82")


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF", b"P5 "]),
)
@settings(max_examples=200)
def test_any_bytes_give_pixels_or_one_line(body: bytes, start: bytes) -> None:
    check(start + body)


@pytest.mark.slow
def test_a_killed_prediction_resumes_to_the_very_rows(run_folder: Path, tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / "template" / "in" / f"{i:02d}.png", 20 * i)
    import_all()
    predict = command("predict", f"run={run_folder}", "source=in", "sort=copy", "output=v.csv", "resume=true")
    phase = Phase("prediction", predict, predict, ("v*/**/*", "v.csv"))
    expected, changes = unbroken(phase, tmp_path / "template", tmp_path / "work", False)
    assert changes > 12
    assert "v.csv" in expected
    for number in (changes // 3, changes - 1):
        how = kill_and_continue(phase, tmp_path / "template", tmp_path / "work", number, False, expected, {})
        assert how == "equal", number


def test_an_unfinished_file_of_a_dead_process_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead = tmp_path / ".unfinished-dead.csv"
    dead.write_text("half")
    with replacing(tmp_path / "a.csv") as living:
        assert not dead.exists()
        with replacing(tmp_path / "b.csv") as other:
            assert living.exists()
            other.write_text("b")
        living.write_text("a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]
    assert (tmp_path / "a.csv").read_text() == "a"


def test_contents_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power cut leaves an empty file under the final name."""
    steps: list[str] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append(f"{'folder' if name.is_dir() else 'file'}, named: {(tmp_path / 'a.json').exists()}")
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    write_json(tmp_path / "a.json", {"a": 1})
    assert steps == ["file, named: False", "folder, named: True"]
