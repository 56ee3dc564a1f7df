"""Files and folders that appear complete or not at all."""

import subprocess
import sys
from pathlib import Path

from qc_lightning.core.atomic import replacing, unfinished_folder

CLEANER = """
import sys, pathlib
from qc_lightning.core.atomic import remove_abandoned
folder = pathlib.Path(sys.argv[1])
print("begun", flush=True)
while True:
    remove_abandoned(folder)
"""


def test_nobody_takes_work_in_progress_for_abandoned(tmp_path: Path) -> None:
    """Another process removes abandoned files and folders all the time, as each command does once."""
    cleaner = subprocess.Popen([sys.executable, "-c", CLEANER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert cleaner.stdout is not None
    try:
        assert cleaner.stdout.readline() == "begun\n"
        for number in range(1000):
            with replacing(tmp_path / f"file{number}", durable=False) as temporary:
                temporary.write_text(str(number))
            if number % 5 == 0:
                with unfinished_folder(tmp_path) as folder:
                    (folder / "a.txt").write_text(str(number))
                    folder.rename(tmp_path / f"folder{number}")
    finally:
        cleaner.kill()
        cleaner.wait()
        cleaner.stdout.close()
    assert all((tmp_path / f"file{number}").read_text() == str(number) for number in range(1000))
    assert all((tmp_path / f"folder{number}/a.txt").read_text() == str(number) for number in range(0, 1000, 5))
    assert not list(tmp_path.glob(".unfinished-*"))


def test_a_folder_whose_work_fails_leaves_nothing(tmp_path: Path) -> None:
    try:
        with unfinished_folder(tmp_path / "below") as folder:
            (folder / "a.txt").write_text("a")
            raise ValueError
    except ValueError:
        pass
    assert list((tmp_path / "below").iterdir()) == []
