"""Training on good photos only: its requirements, its guarantee, and all commands after it."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from conftest import save_photo
from qc_lightning import certify, evaluate, explain, export, predict
from qc_lightning.data.decoding.decode import decode
from qc_lightning.explanation.heat import Heat
from qc_lightning.inference.export_metadata import EVIDENCE
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.rules import choose_decision, exceeded_by
from qc_lightning.models.heads.distance import odds
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.linear import Folds
from qc_lightning.models.novelty import Novelty
from settings import decision_settings

SMALL = ("experiment=recommended", "model.views=1", "model.copies=0", "data.image_size=64", "trainer=cpu")
Train = Callable[..., tuple[int, Path, str]]


def good_photos(root: Path, count: int = 24) -> Path:
    for seed in range(count):
        save_photo(root / "Correct" / f"c{seed:02d}.png", bright=False, seed=seed, size=64)
    return root


def later_photos(root: Path) -> Path:
    """Later photos: three good ones, three with a white corner."""
    for seed in range(3):
        save_photo(root / "Correct" / f"g{seed}.png", bright=False, seed=500 + seed, size=64)
        save_photo(root / "Incorrect" / f"b{seed}.png", bright=True, seed=600 + seed, size=64)
    return root


@pytest.mark.slow
def test_every_command_works_after_a_training_on_good_photos(
    tmp_path: Path, train: Train, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    photos, later = good_photos(tmp_path / "photos"), later_photos(tmp_path / "later")
    code, run, out = train(*SMALL, f"data.root={photos}")
    assert code == 0
    assert "Escapes are unknown: no Incorrect part was tested." in out
    assert "59 Incorrect test parts" in out
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["escape_rate"] == {"value": None, "low": None, "high": None}
    assert metrics["test"]["auroc"]["value"] is None
    assert metrics["go_live"]["claim"]["escape_rate"] is None
    assert json.loads((run / "decision.json").read_text())["decisions"][0]["rule"] == "overkill"
    for page in ("report.html", "model_card.md"):
        text = (run / page).read_text()
        assert "Escapes are unknown" in text
        assert "Trained on 17 Correct photos alone" in text

    assert call(evaluate.main, f"run={run}", f"data.root={later}", "name=later") == 0
    found = json.loads((run / "evaluations/later/metrics.json").read_text())["test"]
    assert found["auroc"]["value"] == 1.0
    assert found["recall"]["value"] == 1.0

    assert call(predict.main, f"run={run}", f"source={later}") == 0
    assert call(explain.main, f"run={run}", f"source={later}", "output=why", "checks=false") == 0
    capsys.readouterr()

    inspector = Inspector.load(str(run))
    assert isinstance(inspector, Inspector)
    heat = np.asarray(explain_heat(inspector, later / "Incorrect/b0.png"))
    assert heat[:40, :40].sum() > 0.7 * heat.sum(), "the white corner is 32 pixels wide"

    assert call(export.main, f"run={run}") == 0
    exported = Inspector.load(run / "export/inspector.onnx")
    names = [later / "Correct/g0.png", later / "Incorrect/b0.png"]
    for ours, theirs in zip(inspector(names), exported(names), strict=True):
        assert theirs.verdict == ours.verdict
        assert theirs.probability == pytest.approx(ours.probability, abs=1e-4)
    assert (run / "export/inspector.onnx").stat().st_size < 30e6
    pixels = decode(later / "Incorrect/b0.png", inspector.decode)[None]
    (far,) = exported.run(pixels, EVIDENCE)[0]
    assert far.sum() == pytest.approx(0, abs=0.02 * float(np.abs(far).sum())), "relative to the photo's average spot"
    assert far[:40, :40].clip(0).sum() > 0.7 * far.clip(0).sum()

    for path in (later / "Incorrect").iterdir():
        path.rename(path.with_name(f"q{path.name}"))
    assert call(certify.main, f"run={run}", f"data.root={later}", "escape_rate=0.7") == 0


def explain_heat(inspector: Inspector, path: Path) -> torch.Tensor:
    image = torch.from_numpy(decode(path, inspector.decode))[None].float() / 255
    heat = Heat(inspector.network, "auto")
    assert heat.method == "distance"
    return torch.from_numpy(heat(image, [True])[0][0])


def test_a_misspelt_folder_is_never_taken_for_no_bad_photos(tmp_path: Path, train: Train) -> None:
    photos = good_photos(tmp_path / "photos", 4)
    save_photo(photos / "Incorect" / "x.png", bright=True, seed=1)
    for also_empty in (False, True):
        if also_empty:
            (photos / "Incorrect").mkdir()
        code, run, out = train(*SMALL, f"data.root={photos}")
        assert code == 2
        assert f"but 1 in {photos / 'Incorect'}, which is neither class: rename it" in out
        assert not (run / "metrics.json").exists()


def test_files_that_are_not_read_are_no_missing_class(tmp_path: Path, train: Train) -> None:
    photos = good_photos(tmp_path / "photos", 4)
    (photos / "Incorrect").mkdir()
    (photos / "Incorrect" / "x.heic").write_bytes(b"no photo that is read")
    code, _, out = train(*SMALL, f"data.root={photos}")
    assert code == 2
    assert "found none" in out
    assert "ending .heic is not read" in out


@pytest.mark.parametrize("recipe", [(), ("experiment=recommended", "model.hidden=[8]")])
def test_what_needs_both_classes_names_what_does_not(tmp_path: Path, train: Train, recipe: tuple[str, ...]) -> None:
    code, _, out = train(*recipe, f"data.root={good_photos(tmp_path / 'photos', 4)}")
    assert code == 2
    assert "experiment=recommended trains without Incorrect photos" in out
    assert out.count("\n") == 1


def test_photos_of_one_part_are_not_enough(tmp_path: Path, train: Train) -> None:
    folder = good_photos(tmp_path / "photos", 4) / "Correct"
    rows = [f"{path},Correct,one,train" for path in folder.iterdir()]
    save_photo(tmp_path / "t.png", False, 9)
    manifest = tmp_path / "labels.csv"
    manifest.write_text("\n".join(["path,label,group,subset", *rows, f"{tmp_path / 't.png'},Correct,two,test"]))
    code, _, out = train(*SMALL, f"data.manifest={manifest}")
    assert code == 2
    assert "expected Correct photos of at least 2 parts" in out


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (100, 0.05), (300, 0.01), (57, 0.2)])
def test_the_promised_overkill_holds_for_photos_like_those_measured(n: int, rate: float) -> None:
    """Split conformal prediction: for any distribution a new value exceeds the limit with at most that rate."""
    draw = np.random.default_rng(0)
    over = []
    for _ in range(4000):
        values = draw.gamma(2.0, size=n + 1)
        limit = exceeded_by(values[:-1], rate)
        assert limit is not None
        over.append(values[-1] > limit)
    assert np.mean(over) <= rate + 3 * math.sqrt(rate / 4000)
    assert np.mean(over) >= rate - 1 / n - 3 * math.sqrt(rate / 4000), "and no more is given away"
    assert exceeded_by(np.arange(math.ceil(1 / rate) - 2.0), rate) is None


def test_the_threshold_rejects_as_many_good_photos_as_were_promised() -> None:
    scores = np.random.default_rng(1).random(200)
    config = decision_settings("balanced")
    decision = choose_decision(scores, np.zeros(200), config)
    assert (scores >= decision.threshold).sum() == 9, "the 191st of 201 places is free for a new photo"
    assert decision.source.startswith("overkill: ")
    assert "escapes are unknown" in decision.source
    few = choose_decision(scores[:10], np.zeros(10), config)
    assert few.threshold > scores[:10].max()
    assert "takes 19" in few.source
    label = np.arange(200) % 2
    both = choose_decision(scores, label, decision_settings("overkill", overkill_rate=0.1))
    assert (scores[label == 0] >= both.threshold).mean() <= 0.1
    assert f"{(scores[label == 1] < both.threshold).sum()} of 100 Incorrect pass" in both.source


def test_distances_are_scikit_learns_nearest_neighbours() -> None:
    draw = torch.Generator().manual_seed(0)
    tiles, other = torch.randn(40, 6, 12, generator=draw), torch.randn(9, 6, 12, generator=draw)
    novelty = Novelty.from_features(tiles)
    nearest = NearestNeighbors(n_neighbors=1).fit(novelty.coordinates(tiles.flatten(0, 1)).numpy())
    expected = nearest.kneighbors(novelty.coordinates(other.flatten(0, 1)).numpy())[0].reshape(9, 6)
    np.testing.assert_allclose(novelty.of_tiles(other), expected, rtol=1e-4)
    np.testing.assert_allclose(novelty(other), expected.max(1), rtol=1e-4)


def test_references_far_apart_leave_no_training_patch_alone() -> None:
    """References chosen far apart include all of 20 rare patches among 6,000, evenly spaced ones hardly any."""
    draw = torch.Generator().manual_seed(0)
    patches = torch.randn(100, 60, 8, generator=draw)
    rare = torch.randint(6000, (20,), generator=draw)
    patches.view(-1, 8)[rare] += 8 * torch.randn(20, 8, generator=draw)
    spread, even = Novelty.from_features(patches, far_apart=100), Novelty.from_features(patches)
    even.reference = even.reference[:: len(even.reference) // 100]
    far = [novelty.of_tiles(patches).max().item() for novelty in (spread, even)]
    assert far[0] < 0.5 * far[1]


def test_a_probability_is_a_half_where_one_good_photo_in_twenty_lies_beyond() -> None:
    distances = torch.from_numpy(np.random.default_rng(2).gamma(3.0, size=999)).float()
    slope, offset = odds(distances)
    order = distances.sort().values
    assert float(torch.sigmoid(slope * order[949] + offset)) == pytest.approx(0.5, abs=1e-6)
    assert float(torch.sigmoid(slope * order[499] + offset)) == pytest.approx(0.05, abs=1e-6)
    assert slope > 0, "farther is worse"


@pytest.mark.parametrize("patches", [None, (20, 6)])
def test_a_good_photo_is_measured_without_its_group(patches: tuple[int, int] | None) -> None:
    """Each photo twice in one group: the distance to its copy would be 0."""
    draw = torch.Generator().manual_seed(3)
    width = 10 + (120 if patches else 0)
    features = torch.randn(30, 1, width, generator=draw).repeat_interleave(2, 0).half()
    group = torch.arange(30).repeat_interleave(2)
    head = FittedHead(10, 5.0, patches, distance=True)
    photos = Folds(torch.zeros(60, dtype=torch.int64), group % 5, group, balance=False)
    logit = head.fit(features, photos, 1.0)
    own = head(features[:, 0])[:, 0]
    torch.testing.assert_close(own, logit.min().expand(60), msg="at itself it is as near as any")
    assert (logit > own + 1).float().mean() > 0.7
    farther = head(features[:1, 0] + 20 * torch.arange(1, 10)[:, None])[:, 0]
    assert (farther.diff() >= 0).all(), "the farther off, the higher"


def test_of_few_bad_photos_no_best_threshold_is_looked_for() -> None:
    """With 3 bad photos the best threshold is arbitrary; a cautious one is chosen instead."""
    draw = np.random.default_rng(4)
    good, bad = draw.beta(2, 8, 200), np.array([0.35, 0.8, 0.97])
    scores, label = np.concatenate([good, bad]), np.array([0] * 200 + [1] * 3)
    decision = choose_decision(scores, label, decision_settings("even"))
    assert "rests on only 3 Incorrect validation photos" in decision.source
    assert (good >= decision.threshold).mean() >= 0.04, "overkill of about 5% is the price"
    assert decision.threshold <= exceeded_by(good, 0.05) + 1e-9  # type: ignore[operator]
    many = choose_decision(np.tile(scores, 7), np.tile(label, 7), decision_settings("even"))
    assert "rests on only" not in many.source
