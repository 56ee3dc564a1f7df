"""Small photo folders, and a way to call a command as a user does without a new process for each test."""

import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from qc_lightning import predict as predict_command
from qc_lightning import train as train_command
from qc_lightning.cli.compose import compose
from qc_lightning.config import PredictConfig, parse
from qc_lightning.config.presets import CONF
from qc_lightning.core.atomic import write_text
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.inference.checkpoint import complete_checkpoint
from qc_lightning.metrics.decision import Decision
from qc_lightning.models.registry import build_network

Predict = Callable[..., tuple[int, str, str]]
pytest_plugins = ["grey_photos"]
settings.register_profile("busy", deadline=None)  # the time of an example means nothing on a busy machine
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither read nor fill the user's cache; one cache per session, so that parts are rendered once."""
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
    """40 photos, 20 per class, easy to distinguish."""
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


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network measures brightness, so that every probability is known in advance."""
    config = compose(["data.image_size=16", "model.hidden=[]"])
    network = build_network(config.model, (16, 16))
    with torch.no_grad():
        weight, bias = network.parameters()
        weight.fill_(20 / weight.numel())
        bias.fill_(-10)
    run = Run(tmp_path_factory.mktemp("runs") / "brightness")
    run.best.parent.mkdir(parents=True)
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"model": asdict(config.model)}}, run.best)
    complete_checkpoint(run.best, DecodeSettings(16, 16), Decision(0.5, "test"), ("Correct", "Incorrect"))
    write_text(run.split, "path,label,group,subset,sha256\n")
    return run.folder


@pytest.fixture
def typed(
    tmp_path: Path,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    call: Callable[..., int],
) -> Predict:
    """Call `python -m qc_lightning.predict ARGS` in this process from an empty folder: exit code, stdout, stderr."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def predict(*arguments: str) -> tuple[int, str, str]:
        run = [] if any(argument.startswith("run=") for argument in arguments) else [f"run={run_folder}"]
        return call(predict_command.main, *run, *arguments), *capsys.readouterr()

    return predict


@pytest.fixture
def predict(
    tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Predict:
    """The same without Hydra, which takes longer than a prediction of a few photos."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    defaults = OmegaConf.load(CONF / "predict.yaml")
    del defaults["hydra"], defaults["defaults"]
    ray = OmegaConf.load(CONF / "ray" / "cluster.yaml")

    def call(*arguments: str) -> tuple[int, str, str]:
        config = OmegaConf.merge(defaults, {"run": str(run_folder), "ray": ray}, OmegaConf.from_dotlist([*arguments]))
        code = 0
        try:
            predict_command.predict(parse(DictConfig(config), PredictConfig))
        except UserError as error:
            code = 2
            print(error, file=sys.stderr)
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def hears_ctrl_c() -> None:
    """For `preexec_fn`: a shell starts background jobs with Ctrl-C ignored, which their children would inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
