"""Photos unlike the training photos never pass; similar photos rarely cause an alarm."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image

from qc_lightning.core.run import Run
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.decoding.decode import DecodeSettings, scaled
from qc_lightning.data.parts.station import fixture, photograph
from qc_lightning.data.photo import Photo
from qc_lightning.data.pixels.pixel_store import PixelStore
from qc_lightning.deployment.export_run import export_inspector
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.models.novelty import Novelty, held_out_distances, limit_of, pixel_features
from qc_lightning.training.novelty import fit_novelty

Train = Callable[..., tuple[int, Path, str]]
SIDE = 96


def picture(pixels: np.ndarray) -> Image.Image:
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB")


def strange(part: Image.Image, station: Image.Image) -> dict[str, Image.Image]:
    """Photos from a faulty camera or station; `part` is like the training photos, `station` has no part."""
    rng, whole = np.random.default_rng(0), np.asarray(part)
    background = np.median(whole.reshape(-1, 3), axis=0)
    half = whole.copy()
    half[:, : whole.shape[1] // 2] = background
    product = np.zeros((SIDE, SIDE, 3))
    product[::8] = (230, 200, 40)
    return {
        "black": picture(np.zeros((SIDE, SIDE, 3))),
        "lens cap": picture(rng.poisson(3, (SIDE, SIDE, 3))),
        "white": picture(np.full((SIDE, SIDE, 3), 255)),
        "grey": picture(np.full((SIDE, SIDE, 3), 128)),
        "red": picture(np.full((SIDE, SIDE, 3), (200, 0, 0))),
        "noise": picture(rng.integers(0, 256, (SIDE, SIDE, 3))),
        "belt": picture(90 + 6 * rng.standard_normal((SIDE, SIDE))),
        "half a part": picture(half),
        "empty station": station,
        "another product": picture(product),
    }


def empty_station() -> Image.Image:
    """The station of the rendered parts with nothing in it."""
    return picture(photograph(fixture(0).copy(), np.random.RandomState(5)))


def rows_of(run: Path, name: str = "split.csv") -> list[dict[str, str]]:
    with (run / name).open(newline="") as lines:
        return list(csv.DictReader(lines))


def check_run(run: Path) -> None:
    """No novel photo passes, whatever its probability; most photos of the run do."""
    inspector = Inspector.load(run, "cpu")
    lenient = dataclasses.replace(inspector.decision, threshold=1.0)
    lenient_inspector = dataclasses.replace(inspector, decision=lenient)
    train = [Path(row["path"]) for row in rows_of(run) if row["subset"] == "train"]
    frames = strange(Image.open(train[0]).convert("RGB"), empty_station())
    for name, frame in frames.items():
        result = lenient_inspector(frame)
        assert result.verdict is Verdict.REVIEW, f"{name}: {result}"
        assert "unlike the training photos" in result.reason
        assert result.error == ""
    assert {one.verdict for one in lenient_inspector(list(train[:12]))} == {Verdict.PASS}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["novelty"]["limit"] == inspector.decision.novelty
    assert metrics["novelty"]["test"]["rate"]["low"] <= 0.01
    tested = rows_of(run, "predictions.csv")
    by_hand = inspector([Path(row["path"]) for row in tested])
    assert [row["verdict"] for row in tested] == [one.verdict for one in by_hand]
    assert [float(row["novelty"]) for row in tested] == pytest.approx([one.novelty for one in by_hand], rel=1e-4)
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["inspector"]["novelty"].keys() >= {"mean"}
    output = run / "inspector.onnx"
    export_inspector(inspector, inspector.decision.to_dict(), gate_photos(Run(run)), output)
    assert output.stat().st_size < 30e6
    exported = ExportedInspector.load(output)
    exported.decision = lenient
    for name, frame in frames.items():
        there, here = exported(frame), lenient_inspector(frame)
        assert there.verdict is Verdict.REVIEW, f"{name}, exported"
        assert there.novelty == pytest.approx(here.novelty, rel=1e-3)


def test_the_papers_network_passes_nothing_strange(train: Train) -> None:
    code, run, output = train("report=false", "trainer.max_epochs=2")
    assert code == 0, output
    check_run(run)


@pytest.mark.slow
def test_a_frozen_network_passes_nothing_strange(train: Train) -> None:
    small = ("data.image_size=96", "model.copies=0", "model.views=1")
    code, run, output = train("experiment=recommended", "report=false", *small)
    assert code == 0, output
    check_run(run)


def test_it_can_be_left_out(train: Train, photo_root: Path) -> None:
    own = ("data=folder", f"data.root={photo_root}", "trainer.max_epochs=1", "report=false", "data.image_size=16")
    code, run, _ = train(*own, "decision.novelty=null")
    assert code == 0
    assert "novelty" not in json.loads((run / "metrics.json").read_text())
    assert Inspector.load(run, "cpu").novelty is None
    assert {row["novelty"] for row in rows_of(run, "predictions.csv")} == {""}
    code, _, output = train(*own, "decision.novelty=1.5")
    assert code == 2
    assert "decision.novelty: expected a rate between 0 and 1" in output


def test_a_network_that_gives_all_photos_the_same_features_finds_none_novel(train: Train, photo_root: Path) -> None:
    """Its features differ by rounding, which is different on a GPU: all photos were novel on the other device."""
    own = ("data=folder", f"data.root={photo_root}", "data.batch_size=8", "trainer.max_epochs=2", "report=false")
    code, run, output = train(*own, "data.image_size=64", "model=mobilenet_v2", "model.mode=scratch")
    assert code == 0, output
    inspector, draw = Inspector.load(run, "cpu"), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in inspector.network.parameters():
            weight.mul_(1 + 1e-6 * torch.randn(weight.shape, generator=draw))
    found = inspector([photo_root / row["path"] for row in rows_of(run, "predictions.csv")])
    assert max(one.novelty for one in found) <= inspector.decision.novelty


def test_distances_are_those_of_all_features_to_a_tenth() -> None:
    """The 256 coordinates keep the distances of 6,000 standardised features."""
    rng = np.random.default_rng(0)
    scale = rng.lognormal(0, 2, 6000)
    learnt = rng.normal(size=(80, 6000)) * scale + 3
    far = rng.normal(size=(20, 6000)) * 4 * scale + 3
    novelty = Novelty.from_features(torch.from_numpy(learnt).float()[:, None])
    standard = (learnt - learnt.mean(0)) / learnt.std(0), (far - learnt.mean(0)) / learnt.std(0)
    expected = np.linalg.norm(standard[1][:, None] - standard[0][None], axis=2).min(1)
    assert novelty(torch.from_numpy(far).float()[:, None]).numpy() == pytest.approx(expected, rel=0.2)
    assert novelty(torch.from_numpy(learnt).float()[:, None]).numpy() == pytest.approx(np.zeros(80), abs=0.5)


def test_false_alarms_come_at_the_chosen_rate() -> None:
    """On new photos of the same kind, in groups of three similar ones: over many draws 1%, within a third of that."""
    rng, rates = np.random.default_rng(0), []
    for _ in range(20):
        parts = np.repeat(rng.normal(size=(300, 1, 40)), 3, axis=0) + 0.2 * rng.normal(size=(900, 1, 40))
        photos = torch.from_numpy(parts).float()
        fold = np.repeat(np.arange(200) % 10, 3)
        apart = held_out_distances(photos[:600], fold)
        limit, _ = limit_of(apart, [str(i // 3) for i in range(600)], 0.01)
        rates.append(float((Novelty.from_features(photos[:600])(photos[600:]) > limit).float().mean()))
    assert 0.004 < np.mean(rates) < 0.015


def test_with_few_parts_the_largest_distance_is_the_limit_and_that_is_said() -> None:
    limit, source = limit_of(np.array([1.0, 5.0, 2.0]), ["a", "b", "c"], 0.01)
    assert limit == 5.0
    assert source.startswith("the largest of 3 training photos of 3 parts")
    assert source.endswith("a rate of 1% takes 100 parts")


def test_what_is_no_number_is_novel_and_state_comes_back() -> None:
    photos = torch.randn(30, 2, 50, generator=torch.Generator().manual_seed(0))
    novelty = Novelty.from_features(photos)
    again = Novelty.from_state(novelty.state_dict())
    assert torch.equal(novelty(photos), again(photos))
    photos[0, 1, 7] = torch.nan
    assert Decision(0.5, "", None, 1e9).verdicts([0.1], novelty(photos[:1]).numpy()).tolist() == [Verdict.REVIEW]


def test_pixel_features_of_any_size() -> None:
    for height, width in ((64, 64), (8, 8), (5, 9), (97, 131), (300, 224)):
        features = pixel_features(torch.rand(2, 3, height, width))
        assert features.shape[:2] == (2, 1)
        assert features.isfinite().all()


def test_distances_follow_the_references_they_have_now() -> None:
    one, other = (Novelty.from_features(torch.rand(40, 1, 8, generator=torch.manual_seed(seed))) for seed in (0, 1))
    photos = torch.rand(5, 1, 8, generator=torch.manual_seed(2))
    before, wanted = one(photos), other(photos)
    assert not torch.equal(before, wanted)
    one.load_state_dict(other.state_dict())
    assert torch.equal(one(photos), wanted)
    with torch.inference_mode():
        assert torch.equal(one(photos), wanted)
    one.reference.zero_()
    assert not torch.equal(one(photos), wanted)


def test_references_are_the_coordinates_of_their_photos() -> None:
    """More photos than are computed at a time: none is left out, and none changes by a digit."""
    features = torch.rand(600, 1, 300, generator=torch.Generator().manual_seed(0))
    novelty = Novelty.from_features(features)
    assert torch.equal(novelty.reference, novelty.coordinates(features[:, 0]))


def test_novelty_holds_the_pixels_of_256_photos_at_a_time(tmp_path: Path) -> None:
    """Of 100,000 photos the features as floats took 6 GB; the parts give the distances of all photos together."""
    pixels = np.random.default_rng(0).integers(0, 256, (700, 3, 16, 16), np.uint8)
    asked: list[int] = []

    def gather(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return pixels[rows]

    store, subsets = PixelStore(([""] * 700, {}), gather), ["train"] * 600 + ["test"] * 100
    photos = [Photo(tmp_path, str(i), i % 2, str(i), subset) for i, subset in enumerate(subsets)]
    photo_set = PhotoSet(photos, np.arange(700), store, DecodeSettings(16, 16), [], [])
    fitted = fit_novelty(torch.nn.Identity(), LightningDataModule(), photo_set, np.arange(700), rate=0.01, seed=0)
    assert fitted is not None
    assert (max(asked), sum(asked)) == (256, 600 + 700)
    features = pixel_features(scaled(torch.from_numpy(pixels)))
    together = Novelty.from_features(features[:600])(features)
    assert fitted.distances == pytest.approx(together.numpy(), rel=1e-5, abs=1e-5)
