"""The distance to Correct photos in the head: where it counts, and where it is dropped."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from qc_lightning.models.heads.fitted import FittedHead
from test_heads import photos_of


def test_a_rare_class_is_among_the_photos_that_tell_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 adjacent Incorrect photos of 830: 10 evenly spaced photos would include none of them."""
    monkeypatch.setattr("qc_lightning.models.heads.fitted._ENOUGH", 10)
    features = torch.randn(830, 1, 20, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(830, dtype=torch.int64)
    label[400:430] = 1
    for row in range(400, 430):  # each is far off in its own direction: only the distance can be learnt
        features[row, 0, row % 20] += 12 * (-1) ** (row // 20)
    head = FittedHead(20, 5.0, distance=True)
    head.fit(features, photos_of(label, np.arange(830) % 5), 0.03)
    assert head.distance is not None
    assert head.tried["then the distance weighs 4"] > head.tried["then the distance weighs 0"]


@pytest.mark.parametrize("change", [0.0, 12.0])
def test_a_distance_that_rises_in_copies_of_correct_photos_is_dropped(change: float) -> None:
    """It ranks the photos as they are without an error; the linear head also ranks the copies."""
    photos = torch.randn(300, 1, 20, generator=torch.Generator().manual_seed(0))
    label = (torch.arange(300) >= 200).long()
    far = 12.0 * torch.eye(20)[torch.arange(300) % 20] * (-1.0) ** (torch.arange(300) // 20)[:, None]
    photos[200:, 0] += far[200:]
    photos[200:, 0, 0] += 4
    copies = photos.clone()
    copies[:200, 0] += change / 12 * far[:200]
    head = FittedHead(20, 5.0, distance=True)
    head.fit(torch.cat([photos, copies]), photos_of(label.repeat(2), np.arange(600) % 5)._replace(times=2), 0.03)
    assert (head.distance is None) == bool(change)


def test_with_few_incorrect_photos_the_distance_to_correct_ones_counts() -> None:
    """3 of 83 photos are each far off in their own direction: only their distance differs from the others."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(83, 1, 40, generator=draw)
    new = torch.randn(40, 40, generator=draw)
    for row, photo in enumerate([*features[80:, 0], *new[20:]]):
        photo[row % 40] += 12 * (-1) ** row
    label = torch.tensor([0] * 80 + [1] * 3)
    photos = photos_of(label, np.arange(83) % 3)
    scores = {}
    for distance in (False, True):
        head = FittedHead(40, 5.0, distance=distance)
        out_of_fold = head.fit(features, photos, 0.03)
        scores[distance] = roc_auc_score([0] * 20 + [1] * 20, head(new)[:, 0].detach())
    assert scores[True] > 0.97 > scores[False]
    assert roc_auc_score(label, out_of_fold) > 0.97
    assert head.choice.endswith("distance to Correct photos weighs 2")
    assert float(head.record["auroc_out_of_fold"]["ridge, penalty 1"]) <= 1  # type: ignore[index]


def test_a_distance_that_does_not_help_is_dropped() -> None:
    """Both classes are equally far off, and one feature separates them."""
    features = torch.randn(200, 1, 30, generator=torch.Generator().manual_seed(0))
    label = (features[:, 0, 0] > 0).long()
    head = FittedHead(30, 5.0, distance=True)
    head.fit(features, photos_of(label, np.arange(200) % 5), 0.03)
    assert head.distance is None
    assert head.choice.endswith("distance to Correct photos weighs 0")
    assert not any("distance" in key for key in head.state_dict())


def test_a_gain_within_its_error_does_not_keep_the_distance() -> None:
    """The distance is uninformative; by chance it ranks slightly better on some draws, and is dropped anyway."""
    lucky = kept = 0
    for seed in range(8):
        draw = torch.Generator().manual_seed(seed)
        features = torch.randn(160, 1, 30, generator=draw)
        label = (features[:, 0, 0] + torch.randn(160, generator=draw) > 0).long()
        head = FittedHead(30, 5.0, distance=True)
        head.fit(features, photos_of(label, np.arange(160) % 5), 0.03)
        of_weights = [value for name, value in head.tried.items() if "the distance weighs" in name]
        lucky += max(of_weights) > of_weights[0]
        kept += head.distance is not None
    assert lucky > 0
    assert kept == 0
