"""The modules that handle a photo between its file and its verdict, few enough to read in one sitting."""

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch

import qc_lightning
from conftest import save_photo
from qc_lightning.cli.compose import compose
from qc_lightning.core.run import Run
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.photo import Photo
from qc_lightning.inference.inspection import Decoded, Inspection
from qc_lightning.inference.inspector import Inspector
from qc_lightning.train import train

PACKAGE = Path(qc_lightning.__file__).parent
ASIDE = ("core", "config", "cli", "data/checks")
"""Not counted: common foundations, and checks, which look at photos without passing them on."""
ARCHITECTURE = Path(__file__).parents[1] / "docs" / "architecture.md"


def _carries_a_photo(value: object) -> bool:
    """Whether an argument is a photo in one of its forms on the way."""
    if isinstance(value, Photo | PhotoSet | Decoded | Inspection):
        return True
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.ndim > 0
    if isinstance(value, Path):
        return value.suffix == ".png"
    if isinstance(value, bytes):
        return value.startswith(b"\x89PNG")
    if isinstance(value, list | tuple) and value:
        return _carries_a_photo(value[0])
    return False


@contextmanager
def traced() -> Iterator[list[str]]:
    """The modules that turn a photo from one form into the next, in order, up to its verdict."""
    modules: list[str] = []
    arrived = threading.Event()

    def note(frame: FrameType, event: str, result: object) -> None:
        file = frame.f_code.co_filename
        if event != "return" or arrived.is_set() or not file.startswith(str(PACKAGE)):
            return
        module = Path(file).relative_to(PACKAGE).with_suffix("").as_posix()
        if frame.f_code.co_name == "verdicts":
            arrived.set()
        elif not (_carries_a_photo(result) and any(map(_carries_a_photo, list(frame.f_locals.values())))):
            return
        if module not in modules and not module.startswith(ASIDE):
            modules.append(module)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield modules
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed in range(24):
        name = ("Correct", "Incorrect")[seed % 2]
        save_photo(tmp_path / "photos" / name / f"{seed}.png", bright=seed % 2 == 1, seed=seed)
    return tmp_path / "photos"


PAPER = ("data.image_size=16",)
RECOMMENDED = ("experiment=recommended", "data.image_size=64", "model.copies=0", "data.split.test=0.25")


@pytest.mark.parametrize(
    ("recipe", "name", "most"), [(PAPER, "paper", (17, 9)), (RECOMMENDED, "recommended", (27, 15))]
)
def test_the_way_is_short_and_the_page_on_the_architecture_names_it(
    recipe: tuple[str, ...], name: str, most: tuple[int, int], photos: Path, tmp_path: Path
) -> None:
    given = ("data=folder", f"data.root={photos}", "trainer=cpu", "trainer.max_epochs=1", "report=false")
    config = compose([*recipe, *given, "data.cache=off"])
    with traced() as training:
        run = train(config, Run(tmp_path / "run"))
    inspector = Inspector.load(run, "cpu")
    with traced() as prediction:
        inspector(next((photos / "Incorrect").iterdir()))
    print(f"{name}, training: {' '.join(training)}\n{name}, prediction: {' '.join(prediction)}")
    assert len(training) <= most[0]
    assert len(prediction) <= most[1]
    text = " ".join(ARCHITECTURE.read_text(encoding="utf-8").split())
    for stage, modules in (("training", training), ("prediction", prediction)):
        (named,) = re.findall(rf"{name}, {stage}: ([a-z_/ ]+?)(?= paper,| recommended,| ##)", text)
        assert sorted(named.split()) == sorted(modules)  # threads take turns, so neighbours may swap places
