"""The way of photos through a network on a GPU, as far as it can be seen without one."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.photo import Photo
from qc_lightning.inference.inspector import Inspector
from qc_lightning.training.features import extract_features

ELSEWHERE = torch.device("meta")  # not a CPU, and in every torch


class Watched:
    """Replaces a network: keeps the sizes of its batches and the threads that called it."""

    recipe, tiles, width, backbone, dtype = "watched", (1, 1), 1, nn.Identity(), torch.float32

    def __init__(self) -> None:
        self.calls: list[tuple[int, threading.Thread]] = []

    def tile_features(self, image: Tensor) -> Tensor:
        assert image.device == ELSEWHERE
        self.calls.append((len(image), threading.current_thread()))
        return torch.full((len(image), 1, 1), 7.0)


class Black:
    """Replaces a dataset."""

    decode = DecodeSettings(8, 8)
    photos = tuple(Photo(Path(f"{i}.png"), f"{i}.png", 0, "a", sha256=f"{i:064d}") for i in range(300))

    def pixels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return np.zeros((len(rows), 3, 8, 8), dtype=np.uint8)


def test_a_gpu_sees_batches_of_one_size_from_one_thread() -> None:
    """cuDNN prepares a network again for every other size, and for every other thread: seconds each time."""
    network = Watched()
    features = extract_features(network, Black(), np.arange(300), ELSEWHERE, None)  # type: ignore[arg-type]
    assert features.shape == (300, 1, 1)
    assert (features == 7).all()
    assert network.calls == [(32, threading.main_thread())] * 10


def test_an_inspector_on_a_gpu_fills_up_its_batches(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspector = replace(Inspector.load(Run(run_folder), "cpu"), device=torch.device("cuda"))
    sizes: list[int] = []

    def run(self: Inspector, pixels: Tensor) -> tuple[Tensor, ...]:
        sizes.append(len(pixels))
        return (pixels.float().mean((1, 2, 3)),)

    monkeypatch.setattr(Inspector, "_run", run)
    for count in (1, 5, 32, 70):
        logit, novelty = inspector.scores(np.full((count, 3, 16, 16), 9, dtype=np.uint8))
        assert logit.tolist() == [9.0] * count
        assert novelty is None
    assert sizes == [32] * (1 + 1 + 1 + 3)
