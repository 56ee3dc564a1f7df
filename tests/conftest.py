"""Small photo folders, and a way to call a command as a user does without a new process for each test."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from qc_lightning import train as train_command


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache; one cache for the session, so that parts are rendered once."""
    monkeypatch.setenv("QC_LIGHTNING_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def save_photo(path: Path, bright: bool, seed: int, size: int = 40) -> Path:
    """A grey noise photo; bright ones have a white corner that any network can learn."""
    pixels = np.random.RandomState(seed).randint(60, 120, (size, size, 3)).astype(np.uint8)
    if bright:
        pixels[: size // 2, : size // 2] = 250
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photo_root(tmp_path: Path) -> Path:
    """40 photos, 20 a class, easy to tell apart."""
    root = tmp_path / "photos"
    for seed in range(20):
        save_photo(root / "Correct" / f"c{seed:02d}.png", bright=False, seed=seed)
        save_photo(root / "Incorrect" / f"i{seed:02d}.png", bright=True, seed=100 + seed)
    return root


@pytest.fixture
def train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Path, str]]:
    """Call `python -m qc_lightning.train ARGS` in this process from an empty folder: exit code, run folder, output."""
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    monkeypatch.chdir(work)
    calls = iter(range(1000))

    def call(*arguments: str, folder: Path | None = None) -> tuple[int, Path, str]:
        run = folder or work / "outputs" / "2026-01-01" / f"run-{next(calls)}"
        place = [] if folder or "-m" in arguments else [f"hydra.run.dir={run}"]
        monkeypatch.setattr(sys, "argv", ["train", "trainer.enable_progress_bar=false", *place, *arguments])
        GlobalHydra.instance().clear()
        code = 0
        try:
            train_command.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, run, out + err

    return call


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Call a command's main() with these arguments, as a user does, in this process: exit code."""

    def run(main: Callable[[], None], *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        GlobalHydra.instance().clear()
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run
