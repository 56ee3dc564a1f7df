"""`qc-lightning audit`: findings, output files, and corrections from its page."""

import csv
import errno
import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import save_photo
from qc_lightning import audit as audit_command
from qc_lightning.auditing.labels import check_labels, held_together
from qc_lightning.auditing.learning_curve import check_learning_curve
from qc_lightning.auditing.out_of_fold import deal
from qc_lightning.auditing.output import write_tables
from qc_lightning.core.errors import UserError
from qc_lightning.data.checks.duplicates import Copies
from qc_lightning.data.checks.file_facts import FileFacts
from qc_lightning.data.checks.group_checks import check_groups, groups_across_subsets
from qc_lightning.data.corrections import apply_corrections
from qc_lightning.data.photo import Photo
from qc_lightning.metrics.decision import probabilities
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.heads.linear import LinearHead

Audit = Callable[..., tuple[int, str]]


@pytest.fixture
def audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: Callable[..., int]
) -> Audit:
    """Call `python -m qc_lightning.audit ARGS quick=true output=found` from an empty folder: exit code and output."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: str) -> tuple[int, str]:
        code = call(audit_command.main, "quick=true", "output=found", "data.image_size=64", *arguments)
        out, err = capsys.readouterr()
        return code, out + err

    return run


def _part(seed: int) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96] / 96
    grey = 90 + 4 * rng.standard_normal((96, 96)) + 70 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.12)
    for u, v in rng.uniform(0.2, 0.8, (6, 2)):
        grey += rng.uniform(-40, 40) * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 0.05**2)
    return np.clip(grey, 0, 255).astype(np.uint8)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for seed in range(60):
        path = root / ("Incorrect" if seed % 2 else "Correct") / f"{seed:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_part(seed)).save(path)
    return root


def _checks(folder: Path) -> dict[str, dict[str, object]]:
    return {check["name"]: check for check in json.loads((folder / "audit.json").read_text())["checks"]}


def _found(folder: Path, check: str) -> set[str]:
    with (folder / "audit.csv").open(newline="") as file:
        return {row["path"] for row in csv.DictReader(file) if row["check"] == check}


def test_planted_faults_are_found_and_nothing_else(parts: Path, audit: Audit) -> None:
    assert audit(f"data.root={parts}")[0] == 0
    clean = _checks(Path("found"))
    assert [name for name, check in clean.items() if check["flagged"]] == []
    plain = _part(4).astype(np.float32)
    Image.fromarray((plain * 0.3).astype(np.uint8)).save(parts / "Correct/004.png")
    Image.fromarray(np.clip(plain * 2.2, 0, 255).astype(np.uint8)).save(parts / "Correct/white.png")
    Image.fromarray(_part(6)).resize((12, 12)).resize((96, 96)).save(parts / "Correct/006.png")
    Image.fromarray(np.full((96, 96), 120, np.uint8)).save(parts / "Incorrect/empty.png")
    Image.fromarray(_part(8)).resize((120, 60)).save(parts / "Correct/008.png")
    Image.fromarray(_part(10)).convert("RGB").save(parts / "Correct/010.png")
    Image.fromarray(_part(12)).save(parts / "Incorrect/twelve.bmp")
    (parts / "Correct/torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, output = audit(f"data.root={parts}", "output=again")
    assert code == 0, output
    again = Path("again")
    assert _found(again, "dark") == {"Correct/004.png"}
    assert _found(again, "overexposed") == {"Correct/white.png"}
    assert "Correct/006.png" in _found(again, "blurred") <= {"Correct/006.png", "Incorrect/empty.png"}
    assert _found(again, "empty") == {"Incorrect/empty.png"}
    assert _found(again, "odd_size") == {"Correct/008.png"}
    assert _found(again, "odd_mode") == {"Correct/010.png", "Incorrect/twelve.bmp"}
    assert _found(again, "copies_pixels") == _found(again, "copies_both_labels") == {"Correct/012.png"}
    assert _found(again, "unreadable") == {str(parts / "Correct/torn.png")}
    check = _checks(again)["border_colour"]
    low, value, high = (float(str(check[key])) for key in ("low", "value", "high"))
    assert 0 <= low <= value <= high <= 1
    assert "unreadable: 1 file cannot be read" in output
    results = {name: check["result"] for name, check in _checks(again).items()}
    assert results["dark"] == "look"
    assert results["mean_colour"] == "fine"
    # nothing was checked, so nothing is reported as fine
    for name in (
        "bursts",
        "camera",
        "copies_across_subsets",
        "groups_across_subsets",
        "label_errors",
        "learning_curve",
    ):
        assert results[name] == "not checked", name
    page = (again / "audit.html").read_text()
    assert page.count("<b>Not checked</b>") == list(results.values()).count("not checked")


def test_mistakes_take_one_line(parts: Path, tmp_path: Path, audit: Audit) -> None:
    Path("found").mkdir()
    (Path("found") / "notes.txt").write_text("mine")
    assert audit(f"data.root={parts}") == (
        2, "error: found already exists: remove it or give another output=\n"
    )  # fmt: skip
    assert audit(f"data.root={tmp_path / 'none'}", "output=x")[0] == 2
    for photo in (parts / "Incorrect").iterdir():
        photo.write_text("no photo")
    code, output = audit(f"data.root={parts}", "output=x")
    assert (code, output.splitlines()[-1][:64]) == (
        2,
        "error: expected readable photos of both classes, got those of on",
    )
    assert not Path("x").exists()


def test_an_audit_that_was_cut_off_leaves_no_folder(parts: Path, audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command then works; a folder with half of the findings would be in its way."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("qc_lightning.auditing.page.replacing", full)
        code, output = audit(f"data.root={parts}")
    assert (code, "No space left on device" in output) == (2, True)
    assert not list(Path().iterdir())
    assert audit(f"data.root={parts}")[0] == 0
    assert sorted(path.name for path in Path("found").iterdir()) == ["audit.csv", "audit.html", "audit.json"]


def test_the_page_escapes_names_and_shows_pairs(parts: Path, audit: Audit) -> None:
    odd = parts / "Correct" / "<b>&'x'.png"
    odd.write_bytes((parts / "Correct/000.png").read_bytes())
    audit(f"data.root={parts}")
    page = Path("found/audit.html").read_text()
    assert "<b>&'x'.png" not in page
    assert 'data-path="Correct/&lt;b&gt;&amp;&#39;x&#39;.png"' in page
    assert page.count("data:image/jpeg") == 2
    assert 'data-twin="Correct/000.png"' in page


def test_photos_that_nearly_are_copies_are_shown_and_not_grouped(parts: Path, audit: Audit) -> None:
    for seed in range(0, 12, 2):
        for by, label in ((1, "Correct"), (2, "Incorrect")):
            Image.fromarray(np.roll(_part(seed), (by, by), (0, 1))).save(parts / label / f"{seed:03d}-moved.png")
    assert audit(f"data.root={parts}")[0] == 0
    check = _checks(Path("found"))["lookalikes"]
    assert check["result"] == "fine"  # similar parts look alike: a person must judge
    assert "6 pairs have a photo in each class" in str(check["text"])
    with Path("found/audit.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["check"] == "lookalikes"]
    moved = {(f"Correct/{seed:03d}-moved.png", f"Incorrect/{seed:03d}-moved.png") for seed in range(0, 12, 2)}
    assert {(row["path"], row["other"]) for row in rows[:6]} == moved
    assert not any("-moved" in path for path in _found(Path("found"), "near_duplicates"))


def test_groups_are_guessed_from_names_and_bursts_from_times() -> None:
    views = [f"Correct/bracket-{part}_{view}.png" for part in range(8) for view in ("left", "top")]
    photos = [Photo(Path(name), name, 0, name) for name in views]
    facts = [FileFacts(taken=100.0 * index + (index % 2 == 1) * -99) for index in range(16)]
    guess, bursts = check_groups(photos, facts, "none")
    assert "8 groups of 2 to 2, for example Correct/bracket-0_left.png and Correct/bracket-0_top.png" in guess.text
    assert bursts.photos == 16
    numbers = [Photo(Path(name), name, 0, name) for name in (f"Correct/IMG_{index:04d}.png" for index in range(50))]
    assert not check_groups(numbers, [FileFacts()] * 50, "none")[0].flagged


def test_groups_in_several_parts_of_a_given_split_are_named() -> None:
    def photo(name: str, group: str, subset: str | None) -> Photo:
        return Photo(Path(name), name, 0, group, subset)

    whole = [photo("a", "part-1", "train"), photo("b", "part-1", "train"), photo("c", "part-2", "test")]
    assert groups_across_subsets(whole).result == "fine"
    torn = groups_across_subsets([*whole, photo("d", "part-2", "train")])
    assert torn.text.startswith("1 group has photos in several parts of the given split, for example part-2:")
    assert [finding.path for finding in torn.findings] == ["c", "d"]
    assert groups_across_subsets([photo("a", "part-1", None)]).result == "not checked"


def test_flipped_labels_come_first() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(600) % 3 == 0
    features = torch.randn(600, 1, 20, generator=generator) + 1.2 * label[:, None, None]
    flipped = set(range(0, 600, 20))
    photos = [Photo(Path(f"{i}"), f"{i}", int(label[i]) ^ (i in flipped), f"{i}") for i in range(600)]
    dealt = deal(photos, 0)
    assert dealt is not None
    check = check_labels(photos, probabilities(FittedHead(20).fit(features, dealt, 1.0)))
    first = {int(finding.path) for finding in check.findings[:60]}
    assert check.flagged
    assert len(first & flipped) >= 27


def test_the_learning_curve_varies_the_rarer_class_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(900) % 3 == 0
    features = torch.randn(900, 1, 60, generator=generator) + 0.6 * label[:, None, None] * (torch.arange(60) < 8)
    photos = [Photo(Path(f"{i}"), f"{i}", int(label[i]), f"{i}") for i in range(900)]
    names = ("good", "scratched")
    curve = check_learning_curve(LinearHead(60), features, photos, names, 1.0)
    points = [tuple(map(float, point)) for point in re.findall(r"([\d.]+) with (\d+)", curve.text)]
    assert [count for _, count in points] == [38, 75, 150, 300]
    assert points[-1][0] == pytest.approx(curve.value, abs=6e-4)
    assert points[0][0] < points[1][0] < points[-1][0]
    # the same by hand: the power law through the errors, extrapolated to 600 parts
    slope, _ = np.polyfit(np.log([38, 75, 150, 300]), np.log([1 - value for value, _ in points]), 1)
    gain = (1 - points[-1][0]) * (1 - 2**slope)
    said = re.search(r"Twice the scratched parts would bring about \+([\d.]+\d)", curve.text)
    assert said is not None
    assert float(said[1]) == pytest.approx(gain, abs=0.002)
    few = check_learning_curve(LinearHead(60), features[:27], photos[:27], names, 1.0)
    assert (few.result, few.value) == ("not checked", None)


def test_a_wrong_label_is_held_out_from_its_group_but_not_from_its_copies() -> None:
    labels = {"module": "0010", "part": "11", "copies": "00", "torn": "01"}
    photos = [
        Photo(Path(f"{group}{i}"), f"{group}{i}", int(label), "module" if group == "copies" else group)
        for group, all_labels in labels.items()
        for i, label in enumerate(all_labels)
    ]
    copies = [Copies(6, 7, "alike", 0.001), Copies(8, 9, "alike", 0.001)]
    kept = {photo.name: photo.group for photo in held_together(photos, copies)}
    assert kept["part0"] == kept["part1"]  # one label: if it is wrong, it is wrong on both
    assert len({kept[f"module{i}"] for i in range(4)}) == 4
    assert kept["copies0"] == kept["copies1"] != kept["module0"]
    assert kept["torn0"] != kept["torn1"]


def test_corrections_change_label_group_and_presence(tmp_path: Path) -> None:
    names = ("Correct/a.png", "Correct/b.png", "Correct/c.png", "Incorrect/d.png")
    photos = [Photo(tmp_path / name, name, int("In" in name), name) for name in names]
    file = tmp_path / "corrections.csv"
    header = "path,label,same_part_as,leave_out\n"
    file.write_text(
        f"{header}Correct/a.png,Incorrect,,\n{tmp_path}/Correct/b.png,,Correct/a.png,\nCorrect/c.png,,,yes\n"
    )
    corrected, notes = apply_corrections(photos, file, ("Correct", "Incorrect"))
    assert [(photo.name, photo.label, photo.group) for photo in corrected] == [
        ("Correct/a.png", 1, "Correct/a.png"),
        ("Correct/b.png", 0, "Correct/a.png"),
        ("Incorrect/d.png", 1, "Incorrect/d.png"),
    ]
    assert notes == ["corrections.csv: 1 labels changed, 1 pairs of photos joined to one part, 1 left out."]
    for text, words in (
        ("path,label\n", "expected path,label,same_part_as,leave_out in line 1"),
        (f"{header}Correct/a.png,Incorect,,\n", "line 2: unknown label 'Incorect'.*Incorrect"),
        (f"{header}other.png,,,yes\n", "names none of them"),
        (f"{header}Correct/a.png,,,no\n", "expected yes or nothing"),
        (f"{header}Correct/a.png\n", "line 2: expected 4 fields"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=words):
            apply_corrections(photos, file, ("Correct", "Incorrect"))


def test_a_page_made_with_corrections_saves_them_again(parts: Path, tmp_path: Path, audit: Audit) -> None:
    file = tmp_path / "corrections.csv"
    file.write_text('path,label,same_part_as,leave_out\n"Correct/000.png",Incorrect,,\nCorrect/002.png,,,yes\n')
    code, output = audit(f"data.root={parts}", f"data.corrections={file}")
    assert code == 0, output
    before = re.search(r'data-before="([^"]*)"', Path("found/audit.html").read_text())
    assert before is not None
    assert json.loads(html.unescape(before[1])) == [
        {"path": "Correct/000.png", "label": "Incorrect", "same_part_as": "", "leave_out": ""},
        {"path": "Correct/002.png", "label": "", "same_part_as": "", "leave_out": "yes"},
    ]


def test_a_training_applies_corrections(
    photo_root: Path, tmp_path: Path, train: Callable[..., tuple[int, Path, str]]
) -> None:
    save_photo(photo_root / "Correct" / "wrong.png", bright=True, seed=999)
    (tmp_path / "corrections.csv").write_text(
        "path,label,same_part_as,leave_out\nCorrect/wrong.png,Incorrect,,\nCorrect/c00.png,,,yes\n"
    )
    code, run, output = train(
        f"data.root={photo_root}", "data=folder", f"data.corrections={tmp_path}/corrections.csv",
        "data.image_size=16", "trainer.max_epochs=1", "report=true",
    )  # fmt: skip
    assert code == 0, output
    with (run / "split.csv").open(newline="") as file:
        rows = {Path(row["path"]).name: row["label"] for row in csv.DictReader(file)}
    assert rows["wrong.png"] == "Incorrect"
    assert "c00.png" not in rows
    assert "WARNING: corrections.csv: 1 labels changed" in output
    assert "data-other-label" in (run / "report.html").read_text()


def test_figures_of_label_checks_are_written(tmp_path: Path) -> None:
    photos = [Photo(Path(f"{i}"), f"{i}", i % 2, f"{i}") for i in range(4)]
    for probability in ([0.1, 0.9, 0.2, 0.8], [0.95, 0.9, 0.2, 0.4]):
        write_tables(tmp_path, [check_labels(photos, np.array(probability))])
        assert _checks(tmp_path)["label_errors"]["flagged"] is (probability[0] == 0.95)
    assert _found(tmp_path, "label_errors") == {"0", "3"}
