"""Properties of the split: hand-computed sizes, undivided groups, the same on every machine."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc_lightning.core.errors import UserError
from qc_lightning.data.photo import Photo
from qc_lightning.data.split import folds, split
from settings import split_settings


def photos(correct: int, incorrect: int, group: int = 1) -> list[Photo]:
    return [
        Photo(Path(f"/{label}/{i}.png"), f"{label}/{i}.png", label, f"{label}/{i // group}")
        for label, count in enumerate((correct, incorrect))
        for i in range(count)
    ]


def test_the_papers_sizes() -> None:
    """180 photos, 90 per class: 54 for the test as in the paper, 15% of the other 126 for validation."""
    of = photos(90, 90)
    subsets = split(of, split_settings(test=0.3, val=0.15, seed=0))
    counts = Counter((subset, photo.label) for photo, subset in zip(of, subsets, strict=True))
    assert counts == {
        ("test", 0): 27, ("test", 1): 27, ("val", 0): 9, ("val", 1): 9, ("train", 0): 54, ("train", 1): 54,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_groups_that_hold_both_classes_are_stratified_by_all_their_photos(seed: int) -> None:
    """60 Correct and 20 Incorrect photos, the Incorrect ones in groups with Correct ones: 30% are 18 and 6."""
    pairs = [(label, f"pure {group}") for group in range(20) for label in (0, 0)]
    pairs += [(label, f"mixed {group}") for group in range(10) for label in (0, 0, 1, 1)]
    of = [Photo(Path(f"/{i}.png"), f"{i}.png", label, group) for i, (label, group) in enumerate(pairs)]
    subsets = split(of, split_settings(test=0.3, val=0.0, seed=seed))
    tested = Counter(photo.label for photo, subset in zip(of, subsets, strict=True) if subset == "test")
    assert tested[1] == 6
    assert 16 <= tested[0] <= 20, "groups move as they are"


def test_the_recorded_split_is_dealt_again() -> None:
    """The same on every machine and release: a recorded split of these names."""
    of = photos(6, 6)
    subsets = split(of, split_settings(test=0.34, val=0.25, seed=7))
    assert [p.name for p, s in zip(of, subsets, strict=True) if s == "test"] == [
        "0/0.png",
        "0/4.png",
        "1/0.png",
        "1/4.png",
    ]
    assert [p.name for p, s in zip(of, subsets, strict=True) if s == "val"] == ["0/5.png", "1/5.png"]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 1)), min_size=30, max_size=60),
    seed=st.integers(0, 99),
    shuffle=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=60)
def test_groups_stay_whole_whatever_the_order(sizes: list[tuple[int, int]], seed: int, shuffle: random.Random) -> None:
    of = [
        Photo(Path(f"/{g}-{i}"), f"{g}-{i}", label, f"g{g}")
        for g, (size, label) in enumerate(sizes)
        for i in range(size)
    ]
    if min(Counter(label for _, label in sizes).get(label, 0) for label in (0, 1)) < 10:
        return
    config = split_settings(test=0.3, val=0.15, seed=seed)
    subset_of = dict(zip([photo.name for photo in of], split(of, config), strict=True))
    for g, (size, _) in enumerate(sizes):
        assert len({subset_of[f"{g}-{i}"] for i in range(size)}) == 1
    for label in (0, 1):
        held = [photo for photo in of if photo.label == label]
        test = sum(subset_of[photo.name] == "test" for photo in held)
        assert abs(test - 0.3 * len(held)) <= 6, "off by no more than the largest group"
    shuffled = list(of)
    shuffle.shuffle(shuffled)
    assert dict(zip([photo.name for photo in shuffled], split(shuffled, config), strict=True)) == subset_of


def test_another_seed_deals_another_split() -> None:
    of = photos(50, 50, group=5)
    assert split(of, split_settings()) != split(of, split_settings(seed=1))


def test_a_subset_that_the_user_fixed_is_kept() -> None:
    of = [Photo(p.path, p.name, p.label, p.group, "test" if i % 4 == 0 else None) for i, p in enumerate(photos(20, 20))]
    subsets = split(of, split_settings(test=0.9, val=0.2, seed=0))
    assert [i for i, subset in enumerate(subsets) if subset == "test"] == list(range(0, 40, 4))
    assert subsets.count("val") == 6  # a fifth of 15 per class
    fixed = [
        Photo(p.path, p.name, p.label, p.group, "val" if i % 4 == 0 else None) for i, p in enumerate(photos(20, 20))
    ]
    subsets = split(fixed, split_settings(test=0.2, val=0.9, seed=0))
    assert {i for i, subset in enumerate(subsets) if subset == "val"} <= set(range(0, 40, 4)), "none beside them"


def test_a_class_in_one_group_cannot_be_cross_validated() -> None:
    assert folds(photos(20, 20, group=20), 5, 0) == [0] * 40
    assert sorted(set(folds(photos(20, 20, group=10), 5, 0))) == [0, 1]


def test_too_few_photos_name_the_part() -> None:
    with pytest.raises(UserError, match=r"the test part gets no Incorrect photo out of 1"):
        split(photos(50, 1), split_settings())
    with pytest.raises(UserError, match=r"the val part gets no Incorrect.*data\.split\.val=0"):
        split(photos(50, 4), split_settings())


def test_every_photo_of_the_rest_is_held_out_in_one_fold() -> None:
    """As scikit-learn's StratifiedKFold does it: folds are disjoint, of one size and balance, and together all."""
    of = photos(50, 50)
    dealt = [split(of, split_settings(test=0.2, folds=5, fold=number)) for number in range(5)]
    held = [{place for place, subset in enumerate(subsets) if subset == "val"} for subsets in dealt]
    tested = {place for place, subset in enumerate(dealt[0]) if subset == "test"}
    assert [len(places) for places in held] == [16] * 5
    assert set().union(*held) == set(range(100)) - tested
    assert [sum(of[place].label for place in places) for places in held] == [8] * 5
