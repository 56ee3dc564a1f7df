"""The photos in folders and manifests, and the one-line error of each mistake."""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import save_photo
from qc_lightning.config import AnyData, ClassNames
from qc_lightning.core.errors import UserError
from qc_lightning.data.catalog import read_catalog
from qc_lightning.data.dataset import load_photos, split_csv
from qc_lightning.data.photo import group_of
from settings import data_settings, split_settings


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., AnyData]:
    def make(**changes: object) -> AnyData:
        return data_settings(tmp_path, **changes)

    return make


def test_folders_of_any_depth(photo_root: Path, config: Callable[..., AnyData]) -> None:
    save_photo(photo_root / "Correct" / "line 2" / "monday" / "x.PNG", bright=False, seed=1)
    save_photo(photo_root / "Correct" / ".thumbs" / "y.png", bright=False, seed=1)
    (photo_root / "Correct" / "notes.txt").write_text("not a photo")
    catalog = read_catalog(config()).photos
    assert Counter(photo.label for photo in catalog) == {0: 21, 1: 20}
    assert [photo.name for photo in catalog] == sorted(photo.name for photo in catalog)
    assert "Correct/line 2/monday/x.PNG" in {photo.name for photo in catalog}


def test_folders_with_the_users_own_class_names(photo_root: Path, config: Callable[..., AnyData]) -> None:
    (photo_root / "Correct").rename(photo_root / "ok")
    (photo_root / "Incorrect").rename(photo_root / "nok")
    assert len(read_catalog(config(classes=ClassNames(correct="ok", incorrect="nok"))).photos) == 40


@pytest.mark.parametrize(
    ("rule", "groups"),
    [("none", 4), ("folder", 3), ("prefix", 2)],
)
def test_each_rule_finds_its_groups(tmp_path: Path, config: Callable[..., AnyData], rule: str, groups: int) -> None:
    for seed, name in enumerate(("Correct/a/p1_left.png", "Correct/a/p1_right.png", "Correct/b/p1_top.png")):
        save_photo(tmp_path / "photos" / name, bright=False, seed=seed)
    save_photo(tmp_path / "photos/Incorrect/p2_left.png", bright=True, seed=9)
    assert len({photo.group for photo in read_catalog(config(group=rule)).photos}) == groups


def test_fixed_train_val_test_folders(tmp_path: Path, config: Callable[..., AnyData]) -> None:
    for subset, count in (("train", 4), ("val", 2), ("test", 3)):
        for seed in range(count):
            save_photo(tmp_path / f"photos/{subset}/Correct/{seed}.png", bright=False, seed=seed + 10 * count)
            save_photo(tmp_path / f"photos/{subset}/Incorrect/{seed}.png", bright=True, seed=seed + 10 * count)
    assert load_photos(config()).counts() == {"train": (4, 4), "val": (2, 2), "test": (3, 3)}


def test_copies_stay_together(photo_root: Path, config: Callable[..., AnyData]) -> None:
    copies = [photo_root / "Correct" / f"copy{i}.png" for i in range(6)]
    for copy in copies:
        copy.write_bytes((photo_root / "Correct/c00.png").read_bytes())
    photos = load_photos(config())
    assert (
        len({photo.subset for photo in photos.photos if photo.path in [*copies, photo_root / "Correct/c00.png"]}) == 1
    )
    assert photos.notes[:1] == ["6 photos are copies of others byte for byte; copies stay on one side of the split."]


def test_split_csv_is_a_manifest(photo_root: Path, tmp_path: Path, config: Callable[..., AnyData]) -> None:
    photos = load_photos(config())
    manifest = tmp_path / "split.csv"
    manifest.write_text(split_csv(photos.photos, ("Correct", "Incorrect")))
    again = load_photos(config(manifest=str(manifest), split=split_settings(0.5, 0.5, 99)))
    assert {p.path: p.subset for p in again.photos} == {p.path: p.subset for p in photos.photos}
    save_photo(photo_root / "Correct/c03.png", bright=False, seed=77)
    with pytest.raises(UserError, match=r"c03\.png is not the file that the manifest names"):
        load_photos(config(manifest=str(manifest)))


def test_a_missing_root_is_one_line(config: Callable[..., AnyData]) -> None:
    with pytest.raises(UserError, match=r"data\.root: expected a folder with Correct/ and Incorrect/ in it.*photos"):
        read_catalog(config())


def test_misspelt_class_names_the_nearest(photo_root: Path, config: Callable[..., AnyData]) -> None:
    (photo_root / "Incorrect").rename(photo_root / "Incorect")
    with pytest.raises(UserError, match=r"folder 'Incorrect'.*did you mean Incorect\?.*data\.classes\.incorrect="):
        read_catalog(config())


def test_folders_of_other_names_are_one_message_with_both_settings(
    photo_root: Path, config: Callable[..., AnyData]
) -> None:
    (photo_root / "Correct").rename(photo_root / "good")
    (photo_root / "Incorrect").rename(photo_root / "bad")
    with pytest.raises(UserError, match=r"there is: bad, good.*data\.classes\.correct=.*data\.classes\.incorrect="):
        read_catalog(config())
    named = {"correct": "good", "incorrect": "bad"}
    assert len(read_catalog(config(classes=ClassNames(**named))).photos) > 0


def test_a_class_folder_names_the_folder_above_it(photo_root: Path, config: Callable[..., AnyData]) -> None:
    with pytest.raises(UserError, match=rf"give the folder that holds both, {re.escape(str(photo_root))}$"):
        read_catalog(config(root=str(photo_root / "Correct")))


def test_folders_beyond_the_fifth_are_counted(tmp_path: Path, config: Callable[..., AnyData]) -> None:
    for name in "abcdefg":
        (tmp_path / "other" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=r"\(there is: a, b, c, d, e and 2 more\)"):
        read_catalog(config(root=str(tmp_path / "other")))


def test_a_missing_class_folder_is_one_line(photo_root: Path, config: Callable[..., AnyData]) -> None:
    (photo_root / "Incorrect").rename(photo_root.parent / "elsewhere")
    with pytest.raises(UserError, match=r"folder 'Incorrect' .*there is: Correct"):
        read_catalog(config())


def test_a_name_that_is_no_text(photo_root: Path, config: Callable[..., AnyData]) -> None:
    try:
        (photo_root / "Correct" / "c00.png").rename(os.fsdecode(bytes(photo_root / "Correct") + b"/Gr\xfc\xdfe.png"))
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(UserError, match=r"1 of 40 are not .*, for example Correct/Gr\\xfc\\xdfe\.png: rename them"):
        read_catalog(config())


def test_a_manifest_in_another_encoding(photo_root: Path, config: Callable[..., AnyData]) -> None:
    manifest = photo_root / "labels.csv"
    manifest.write_bytes("path,label\nCorrect/c00.png,Correct\nCorrect/Grüße.png,Correct\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"labels\.csv, line 3: expected UTF-8"):
        read_catalog(config(manifest=str(manifest)))


def test_an_empty_class_folder_is_one_line(photo_root: Path, config: Callable[..., AnyData]) -> None:
    for path in (photo_root / "Incorrect").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"expected photos in .*Incorrect, found none"):
        read_catalog(config())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,labl\na.png,Correct\n", r"unknown column 'labl' \(did you mean label\?\)"),
        ("path;label\nCorrect/c00.png;Correct\n", r"expected commas between the columns, line 1 is: path;label"),
        ("path\tlabel\nCorrect/c00.png\tCorrect\n", r"expected commas between the columns"),
        ("path,group\na.png,1\n", r"expected a column 'label' in line 1"),
        ("path,label\nCorrect/c00.png,Corect\n", r"line 2: unknown label 'Corect' \(did you mean Correct\?\)"),
        ("path,label\nCorrect/no.png,Correct\n", r"line 2: no file .*no\.png"),
        ("path,label,subset\nCorrect/c00.png,Correct,training\n", r"line 2: unknown subset 'training'"),
        ("path,label\nCorrect/c00.png\n", r"line 2: expected 2 fields"),
        (
            "path,label\nCorrect/c00.png,Correct\nCorrect/c00.png,Incorrect\n",
            r"line 3: .* is in the manifest twice",
        ),
    ],
)
def test_a_mistake_in_a_manifest_names_its_line(
    photo_root: Path, config: Callable[..., AnyData], text: str, message: str
) -> None:
    (photo_root / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_catalog(config(manifest=str(photo_root / "labels.csv")))


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.png", b""), ("text.jpg", b"these are words"), ("cut.png", None)],
)
def test_a_bad_file_is_refused_or_skipped_up_to_a_fraction(
    photo_root: Path, config: Callable[..., AnyData], name: str, content: bytes | None
) -> None:
    bad = photo_root / "Correct" / name
    bad.write_bytes(content if content is not None else (photo_root / "Correct/c00.png").read_bytes()[:2000])
    with pytest.raises(UserError, match=rf"1 of 41 files cannot be read as photos: .*{name} \(.*on_bad_file=skip"):
        load_photos(config())
    photos = load_photos(config(on_bad_file="skip"))
    assert [path for path, _ in photos.bad] == [bad]
    assert bad not in {photo.path for photo in photos.photos}
    assert len(photos.photos) == 40
    with pytest.raises(UserError, match=r"more than data\.max_bad_share=0\.01 allows"):
        load_photos(config(on_bad_file="skip", max_bad_share=0.01))


def test_elpv_has_the_published_numbers_of_cells(config: Callable[..., AnyData]) -> None:
    """1,508 Correct and 715 Incorrect without the uncertain ones; 2,624 cells in all (Deitsch et al. 2019)."""
    pytest.importorskip("elpv_dataset")
    drop = Counter(photo.label for photo in read_catalog(config(source="elpv", root=None, uncertain="drop")).photos)
    assert drop == {0: 1508, 1: 715}
    everything = read_catalog(config(source="elpv", root=None, uncertain="threshold", group="module")).photos
    assert len(everything) == 2624
    assert len({photo.group for photo in everything}) == 44


@pytest.mark.parametrize(
    ("file", "part"),
    [("line_3_part_07_left.jpg", "line_3_part_07"), ("a-b_c-d.png", "a-b_c"), ("_7.png", "_7"), ("7.png", "7")],
)
def test_a_prefix_ends_at_the_last_separator(file: str, part: str) -> None:
    assert group_of(f"Correct/{file}", "prefix") == part
