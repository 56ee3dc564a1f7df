"""The feature store, the head on its features, and the draws of each epoch."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from qc_lightning.cli.compose import compose
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.photo import Photo
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.linear import Folds, LinearHead
from qc_lightning.models.heads.solver import Recipe
from qc_lightning.training.callbacks import SeedEpochs
from qc_lightning.training.closed_form import ClosedFormClassifier
from qc_lightning.training.feature_cache import FeatureCache
from qc_lightning.training.feature_data import FeatureBatch
from qc_lightning.training.features import extract_features
from qc_lightning.training.head import HeadSettings


class Brightness:
    """Replaces a network: its only feature is a photo's mean."""

    recipe, tiles, width, backbone, dtype = "brightness", (1, 1), 1, nn.Identity(), torch.float32

    def tile_features(self, image: Tensor) -> Tensor:
        return image.mean((1, 2, 3))[:, None, None]


class Grey:
    """Replaces a dataset: all pixels have the photo's decoded grey level."""

    def __init__(self, decode: DecodeSettings, level: int) -> None:
        self.decode, self.level = decode, level
        self.photos = [Photo(Path("a.png"), "a.png", 0, "a", sha256="0" * 64)]

    def pixels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return np.full((len(rows), 3, 4, 4), self.level, dtype=np.uint8)


@pytest.mark.parametrize("change", [{"bit_depth": 12}, {"resize": "letterbox"}, {"rows": 2}])
def test_the_same_file_decoded_otherwise_has_other_features(tmp_path: Path, change: dict[str, object]) -> None:
    decode = DecodeSettings()
    found = [
        extract_features(Brightness(), photos, np.arange(1), torch.device("cpu"), FeatureCache(tmp_path))  # type: ignore[arg-type]
        for photos in (Grey(decode, 51), Grey(replace(decode, **change), 102), Grey(decode, 255))  # type: ignore[arg-type]
    ]
    assert [feature.item() for feature in found] == pytest.approx([0.2, 0.4, 0.2]), "the last one is known"


def test_copies_that_equal_their_photos_change_nothing() -> None:
    """Every photo counts that many times, so the penalty's weight must grow with the number of copies."""
    draw = np.random.default_rng(0)
    label = torch.arange(40) % 2
    features = torch.from_numpy(draw.normal(size=(40, 6)).astype(np.float32)) + label[:, None]
    weights, out_of_fold = [], []
    for times in (1, 3):
        head = LinearHead(6)
        fold, group = torch.arange(40) // 2 % 5, torch.arange(40)
        photos = Folds(label.repeat(times), fold.repeat(times), group.repeat(times), False, times)
        logit = head.fit(features.repeat(times, 1)[:, None], photos, [Recipe("logistic", 0.5)])
        out_of_fold.append(logit[:40])
        weights.append(head.linear.weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(out_of_fold[0], out_of_fold[1], rtol=1e-3, atol=1e-3)


def test_each_epoch_and_process_draws_its_own_and_the_same_again() -> None:
    def drawn(seed: int, epoch: int, rank: int) -> float:
        trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
        SeedEpochs(seed).on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        return torch.rand(1).item()

    draws = [drawn(*which) for which in ((0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0))]
    assert len(set(draws)) == 4
    assert drawn(0, 1, 0) == draws[1]


def test_answers_to_training_photos_keep_no_graph() -> None:
    """They are asked for within a training step, where gradients are on: a graph took 0.3 MB and more a photo."""
    config = compose(["experiment=recommended", "model.patches=false", "model.distance=false"])
    module = ClosedFormClassifier(config.model, config.optim, (32, 32), (1, 1), HeadSettings.from_config(config))
    head = cast(FittedHead, module.head)
    batch = FeatureBatch(torch.rand(3, 1, head.width), torch.zeros(3), torch.arange(3))
    with torch.enable_grad():
        logit = module.answer(batch)
    assert any(weight.requires_grad for weight in head.parameters()), "else there would be no graph anyway"
    assert logit.shape == (3,)
    assert not logit.requires_grad
