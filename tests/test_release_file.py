"""The file of a release: the present target, and all former ones."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qc_lightning.core import release
from qc_lightning.core.release import Release


def test_releases_of_one_name_made_at_the_same_time_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [f"run-{number:02d}" for number in range(24)]

    def make(run: str) -> None:
        Release("press", run, "abc", 1, "0" * 64, False, "me", "2026-01-01T00:00:00+00:00", "tried").write()

    with ThreadPoolExecutor(8) as people:
        list(people.map(make, runs))
    newest = release.read("press")
    assert sorted([newest.run, *(str(former["run"]) for former in newest.former)]) == runs
