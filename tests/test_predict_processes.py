"""`predict trainer=ddp`: several processes, each photo in exactly one of their outputs."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import hears_ctrl_c
from test_predict import read, save

Predict = Callable[..., tuple[int, str, str]]
DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(30):
        save(tmp_path / "photos" / f"{number:02d}.png", number * 8)
    return tmp_path / "photos"


def command(run: Path, photos: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "qc_lightning.predict", f"run={run}", f"source={photos}", *DDP, *arguments]


def rows(folder: Path) -> list[str]:
    return sorted(Path(row["path"]).name for share in folder.glob("verdicts-*of2.csv") for row in read(share))


@pytest.mark.slow
def test_every_photo_appears_once_and_after_a_kill_too(run_folder: Path, photos: Path, tmp_path: Path) -> None:
    everything = sorted(path.name for path in photos.iterdir())
    done = subprocess.run(command(run_folder, photos), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path) == everything
    share = tmp_path / "verdicts-2of2.csv"
    text = share.read_bytes()
    share.write_bytes(text[: len(text) // 2])  # as a kill leaves it
    assert len(rows(tmp_path)) < len(everything)
    done = subprocess.run(command(run_folder, photos, "resume=true"), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path) == everything


@pytest.mark.slow
def test_ctrl_c_reaches_every_process(run_folder: Path, photos: Path, tmp_path: Path) -> None:
    working = subprocess.Popen(
        command(run_folder, photos, "watch=true"), cwd=tmp_path, stdout=subprocess.DEVNULL, preexec_fn=hears_ctrl_c
    )
    end = time.monotonic() + 60
    while len(rows(tmp_path)) < 30 and time.monotonic() < end:
        time.sleep(0.2)
    working.send_signal(signal.SIGINT)
    assert working.wait(30) == 0, "Ctrl-C is how watching ends"
    assert rows(tmp_path) == sorted(path.name for path in photos.iterdir())


def test_mistakes_are_found_before_any_process_starts(typed: Predict, photos: Path) -> None:
    for arguments, line in (
        (["source=nowhere"], "error: source: expected a photo"),
        ([f"source={photos}", "trainer.devices=0"], "error: trainer.devices: expected how many processes"),
        ([f"source={photos}", "trainer.num_nodes=2"], "error: trainer.num_nodes: expected 1, or a start by torchrun"),
        ([f"source={photos}", "trainer.device=2"], "error: there is no setting 'trainer.device'"),
    ):
        code, _, errors = typed(*DDP, *arguments)
        assert code == 2
        assert errors.startswith(line), errors
        assert errors.count("\n") == 1
    assert not list(Path().iterdir())


def test_the_trainer_of_a_training_says_where(typed: Predict, photos: Path) -> None:
    assert typed(f"source={photos}", "trainer=cpu")[0] == 0
    assert len(read(Path("verdicts.csv"))) == 30
