"""Checks of every dataset before its split: copies, and shortcuts to the class."""

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from qc_lightning.core.errors import UserError
from qc_lightning.data.checks.duplicates import Copies, join_copies
from qc_lightning.data.checks.file_facts import read_file_facts
from qc_lightning.data.checks.shortcuts import _predict
from qc_lightning.data.dataset import PhotoSet, load_photos
from settings import data_settings, split_settings


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., PhotoSet]:
    def call(**changes: object) -> PhotoSet:
        return load_photos(data_settings(tmp_path, **({"image_size": 64} | changes)), progress=False)

    return call


def _part(seed: int, side: int = 96) -> Image.Image:
    """A disc with individual marks on a noisy background, as similar as parts of one kind are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    grey = 90 + 3 * rng.standard_normal((side, side)) + 70 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.12)
    for _ in range(6):
        u, v, size, depth = *rng.uniform(0.2, 0.8, 2), rng.uniform(0.02, 0.08), rng.uniform(-40, 40)
        grey += depth * np.exp(-((x - u) ** 2 + (y - v) ** 2) / size**2)
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def _save_parts(root: Path, count: int = 40, kind: str = "png") -> None:
    for seed in range(count):
        path = root / ("Incorrect" if seed % 2 else "Correct") / f"{seed:03d}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        _part(seed).save(path)


def _flagged(notes: list[str], words: str) -> bool:
    return any(words in note for note in notes)


def test_copies_saved_again_are_grouped_and_different_parts_are_not(
    tmp_path: Path, load: Callable[..., PhotoSet]
) -> None:
    root = tmp_path / "photos"
    _save_parts(root)
    for path in sorted(root.rglob("*.png"))[:12]:
        image = Image.open(path)
        image.save(path.with_name(f"{path.stem}-again.jpg"), quality=80)
        image.save(path.with_name(f"{path.stem}-again.bmp"))
        image.resize((48, 48)).save(path.with_name(f"{path.stem}-half.png"))
        image.point([min(255, round(1.05 * grey)) for grey in range(256)]).save(
            path.with_name(f"{path.stem}-light.png")
        )
    photos = load().photos
    groups = defaultdict(set)
    for photo in photos:
        groups[photo.group].add(Path(photo.name).stem[:3])
    assert len(photos) == 40 + 4 * 12
    assert len(groups) == 40
    assert all(len(parts) == 1 for parts in groups.values())
    of = {photo.name: photo.group for photo in load(near_duplicates="warn").photos}
    assert of["Correct/000-half.png"] != of["Correct/000.png"] == of["Correct/000-again.bmp"]
    with pytest.raises(UserError, match="near_duplicates=error: expected no near-duplicates"):
        load(near_duplicates="error")


def test_parts_that_differ_in_colour_alone_are_no_copies(tmp_path: Path, load: Callable[..., PhotoSet]) -> None:
    for seed in range(24):
        grey = np.asarray(_part(seed), dtype=np.int16)[:, :, None]
        for label, tint in (("Correct", (12, 0, -12)), ("Incorrect", (-12, 0, 12))):  # the same mean of the channels
            path = tmp_path / "photos" / label / f"{seed:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.clip(grey + tint, 0, 255).astype(np.uint8))
            image.save(path)
            if seed < 6:
                image.save(path.with_name(f"{seed:03d}-again.jpg"), quality=80)
    photos = load()
    group = {photo.name: photo.group for photo in photos.photos}
    assert len(set(group.values())) == 48
    assert group["Correct/003.png"] == group["Correct/003-again.jpg"] != group["Incorrect/003.png"]
    assert not _flagged(photos.notes, "in each class")
    with Image.open(tmp_path / "photos/Correct/003.png") as image:
        image.save(tmp_path / "photos/Incorrect/003-again.jpg", quality=70)
    # two parts of one mould can look so alike: nothing shows that a label is wrong
    assert _flagged(load().notes, "one of the labels is wrong, unless they show two parts that look exactly alike")


def test_copies_in_both_classes_and_across_a_fixed_split_are_named(
    tmp_path: Path, load: Callable[..., PhotoSet]
) -> None:
    for subset in ("train", "test"):
        _save_parts(tmp_path / "photos" / subset, 20 if subset == "train" else 30)
    for path in sorted((tmp_path / "photos/test").rglob("*.png")):
        if int(path.stem) < 20:
            path.unlink()
    train = tmp_path / "photos/train/Correct/000.png"
    Image.open(train).save(tmp_path / "photos/test/Correct/copy.bmp")
    (tmp_path / "photos/test/Incorrect/other.png").write_bytes((tmp_path / "photos/test/Correct/020.png").read_bytes())
    photos = load(split=split_settings(val=0.0))
    subset = {photo.name: photo.subset for photo in photos.photos}
    assert (subset["train/Correct/000.png"], subset["test/Correct/copy.bmp"]) == ("train", "test")
    assert _flagged(photos.notes, "copy of one in another subset, for example test/Correct/copy.bmp and train/C")
    assert _flagged(photos.notes, "test/Correct/020.png and test/Incorrect/other.png: one of the labels is wrong")


def test_a_chain_of_photos_that_look_alike_is_cut() -> None:
    names = [str(index) for index in range(100)]
    chain = [Copies(index, index + 1, "alike", 0.01) for index in range(99)]
    groups, cut = join_copies(names, chain, near=True)
    assert max(groups.count(group) for group in set(groups)) <= 20
    assert len(cut) >= 4
    exact, none = join_copies(names, [Copies(0, index, "bytes", 0.0) for index in range(1, 100)], near=False)
    assert (len(set(exact)), none) == (1, [])


def test_file_kind_alone(tmp_path: Path, load: Callable[..., PhotoSet]) -> None:
    for seed in range(40):
        path = tmp_path / "photos" / (f"Incorrect/{seed}.png" if seed % 2 else f"Correct/{seed}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        _part(seed).save(path)
    notes = load().notes
    assert _flagged(notes, "the kind of file alone tells Incorrect from Correct with balanced accuracy 1.000 (0.")
    assert not _flagged(notes, "the mean colour")


def test_the_camera_of_a_manifest_alone(tmp_path: Path, load: Callable[..., PhotoSet]) -> None:
    _save_parts(tmp_path / "photos")
    paths = sorted((tmp_path / "photos").glob("*/*.png"))
    for cameras, flagged in ((("top", "side"), True), (("top", "top"), False)):
        lines = [f"{path},{path.parent.name},{cameras[path.parent.name == 'Correct']}" for path in paths]
        (tmp_path / "labels.csv").write_text("\n".join(["path,label,camera", *lines]))
        notes = load(root=None, manifest=str(tmp_path / "labels.csv")).notes
        assert _flagged(notes, "the camera alone tells Incorrect from Correct") == flagged


def test_a_lighter_border_where_the_light_varies(tmp_path: Path, load: Callable[..., PhotoSet]) -> None:
    """The colour alone reveals little then, the step to the inside reveals everything."""
    root = tmp_path / "photos"
    _save_parts(root, count=80)
    for path in sorted(root.rglob("*.png")):
        grey = np.asarray(Image.open(path)).astype(np.int16) + np.random.default_rng(int(path.stem)).integers(-60, 60)
        border = np.ones(grey.shape, bool)
        border[3:-3, 3:-3] = False
        grey[border] += 30 * (path.parent.name == "Incorrect")
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(path)
    assert _flagged(load().notes, "the border's colour alone tells Incorrect from Correct")


def test_border_alone(tmp_path: Path, load: Callable[..., PhotoSet]) -> None:
    _save_parts(tmp_path / "photos")
    assert load().notes == []
    for path in (tmp_path / "photos/Incorrect").glob("*.png"):
        grey = np.asarray(Image.open(path)).copy()
        grey[:3], grey[-3:] = 130, 130
        Image.fromarray(grey).save(path)
    notes = load().notes
    assert _flagged(notes, "the border's colour alone tells Incorrect from Correct")
    assert not _flagged(notes, "the size")


def test_parts_that_names_tell_of_are_warned_of_before_the_split(tmp_path: Path, load: Callable[..., PhotoSet]) -> None:
    for seed in range(40):
        path = (
            tmp_path / "photos" / ("Correct", "Incorrect")[seed // 2 % 2] / f"bracket{seed // 2}_{'ab'[seed % 2]}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        _part(seed).save(path)
    assert _flagged(
        load().notes, "names look like part_view: 20 groups of 2 to 2, for example Correct/bracket0_a.png and"
    )
    assert load(group="prefix").notes == []
    for index, path in enumerate(sorted((tmp_path / "photos").rglob("*.png"))):
        path.rename(path.with_name(f"IMG_20240506_0708{index // 2:02}{7 * (index % 2):02}.png"))
    assert load().notes == []
    for index, path in enumerate(sorted((tmp_path / "photos").rglob("*.png"))):
        path.rename(path.with_name(f"IMG_20240506_07{index // 2:02}{10 + index % 2}.png"))
    assert _flagged(load().notes, "20 photos were taken within 2 seconds of another one and share no group with it")


def test_dates_count_by_the_hour(tmp_path: Path, load: Callable[..., PhotoSet]) -> None:
    _save_parts(tmp_path / "photos")
    for seed, path in enumerate(sorted((tmp_path / "photos").rglob("*.png"))):
        start = 1_700_000_000 + 86_400 * (path.parent.name == "Incorrect")
        os.utime(path, (start, start + 60 * seed))
    assert _flagged(load().notes, "the file's date alone tells")
    for path in (tmp_path / "photos").rglob("*.png"):
        os.utime(path, (1_700_000_000, 1_700_000_000 + (path.parent.name == "Incorrect")))
    assert not _flagged(load().notes, "the file's date")


def test_what_a_file_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Line cam 5"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    for quality in (20, 50, 75, 95):
        _part(1).save(tmp_path / f"{quality}.jpg", quality=quality, exif=exif)
    _part(1, 33).convert("RGB").save(tmp_path / "x.png")
    (tmp_path / "bad.png").write_text("no image")
    facts = read_file_facts(
        [tmp_path / name for name in ("20.jpg", "50.jpg", "75.jpg", "95.jpg", "x.png", "broken.png")]
    )
    assert [fact.quality for fact in facts[:4]] == pytest.approx([20, 50, 75, 95], abs=1.5)
    assert facts[0].camera == "Line cam 5"
    assert facts[0].taken == pytest.approx(facts[1].taken)
    assert (facts[4].kind, facts[4].mode, facts[4].width, np.isnan(facts[4].quality)) == ("PNG", "RGB", 33, True)
    assert facts[5].kind == ""


def test_logistic_regression_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4)) * [1, 10, 0.1, 3] + [0, 5, 1, -2]
    label = (x[:, 0] + rng.standard_normal(300) > 0.8).astype(np.int64)
    scaled = (x - x[:200].mean(0)) / x[:200].std(0)
    other = LogisticRegression(C=1.0, class_weight="balanced").fit(scaled[:200], label[:200]).predict(scaled[200:])
    assert (_predict(x[:200], label[:200], x[200:]) == (other == 1)).all()
