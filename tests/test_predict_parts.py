"""Rows of parts in addition to rows of photos, as a user types it."""

import csv
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qc_lightning.core.run import Run

Predict = Callable[..., tuple[int, str, str]]
DARK, LIGHT = 40, 220  # greys that the model of these tests passes and rejects


def save(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 20), grey, np.uint8)).save(path)
    return path


def rows(path: str = "verdicts_parts.csv") -> dict[str, dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return {row["part"]: row for row in csv.DictReader(file)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four parts from two cameras: good, bad on the right, one view missing, one view unreadable."""
    root = tmp_path / "photos"
    for part, left, right in (("1", DARK, DARK), ("2", DARK, LIGHT), ("3", DARK, None), ("4", DARK, 0)):
        save(root / f"{part}_left.png", left)
        if right is not None:
            save(root / f"{part}_right.png", right)
    (root / "4_right.png").write_bytes(b"torn")
    return root


def test_the_worst_photo_decides_for_its_part(typed: Predict, photos: Path) -> None:
    code, out, _ = typed(f"source={photos}", "part=prefix", "views=2")
    assert code == 3
    found = rows()
    assert {part: row["verdict"] for part, row in found.items()} == {
        "1": "PASS", "2": "REJECT", "3": "REVIEW", "4": "REVIEW"
    }  # fmt: skip
    assert found["2"]["worst"] == str(photos / "2_right.png")
    assert float(found["2"]["probability"]) > 0.9
    assert (found["3"]["photos"], found["3"]["missing"], found["3"]["reason"]) == ("1", "1", "1 of 2 views is missing")
    assert found["4"]["reason"] == "cannot be read"
    with Path("verdicts.csv").open(newline="", encoding="utf-8") as file:
        assert all(row["part"] == Path(row["path"]).name[0] for row in csv.DictReader(file))
    assert "4 parts: 1 PASS, 2 REVIEW, 1 REJECT; 1 lack a view" in out


def test_parts_by_folder_and_by_a_column_of_a_list(predict: Predict, photos: Path, tmp_path: Path) -> None:
    for path in sorted(photos.iterdir()):
        target = tmp_path / "folders" / path.stem.partition("_")[0] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    assert predict(f"source={tmp_path / 'folders'}", "part=folder", "output=a.csv")[0] == 3
    listing = [f"{path},no {path.stem[0]}" for path in sorted(photos.iterdir())]
    (tmp_path / "list.csv").write_text("\n".join(["path,part", *listing]))
    assert predict(f"source={tmp_path / 'list.csv'}", "output=b.jsonl")[0] == 3
    by_folder, by_column = (
        {part.removeprefix("no "): row["verdict"] for part, row in rows(path).items()}
        for path in ("a_parts.csv", "b_parts.csv")
    )
    assert by_folder == by_column == {"1": "PASS", "2": "REJECT", "3": "PASS", "4": "REVIEW"}


def test_the_runs_own_rule_is_the_default(predict: Predict, photos: Path, run_folder: Path, tmp_path: Path) -> None:
    grouped = tmp_path / "grouped"
    shutil.copytree(run_folder, grouped)
    from qc_lightning.cli.compose import compose
    from qc_lightning.config.record import RunRecord

    RunRecord.from_config(compose(["data.group=prefix"]), "qc-lightning train photos/", []).write(Run(grouped))
    assert predict(f"run={grouped}", f"source={photos}")[0] == 3
    assert len(rows()) == 4
    assert predict(f"run={grouped}", f"source={photos}", "part=none", "output=none.csv")[0] == 3
    assert not Path("none_parts.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["views=2"], "say which photos show one part by part="),
        (["part=column"], "expected a .csv with the columns path and part"),
        (["part=prefx"], "prefix"),
        (["views=0", "part=prefix"], "at least 1"),
        (["part=prefix"], "verdicts_parts.csv already exists"),
    ],
)
def test_a_mistake_is_one_line(predict: Predict, photos: Path, arguments: list[str], said: str) -> None:
    if arguments == ["part=prefix"]:
        Path("verdicts_parts.csv").write_text("mine\n")
    code, _, errors = predict(f"source={photos}", *arguments)
    assert (code, errors.count("\n")) == (2, 1)
    assert said in errors
    assert not Path("verdicts.csv").exists()


def test_a_german_spreadsheet_opens_both_files(typed: Predict, photos: Path) -> None:
    settings = (f"source={photos}", "part=prefix", "separator=;", "decimal=,")
    (photos / "4_right.png").unlink()
    assert typed(*settings)[0] == 0
    before = {path: path.read_bytes() for path in map(Path, ("verdicts.csv", "verdicts_parts.csv"))}
    for path, data in before.items():
        assert data.startswith(b"\xef\xbb\xbf"), "without it umlauts come out wrong"
        with path.open(newline="", encoding="utf-8-sig") as file:
            numbers = [row["probability"] for row in csv.DictReader(file, delimiter=";")]
        assert numbers
        assert all(re.fullmatch(r"\d(,\d+)?(e-\d+)?", number) for number in numbers), numbers
    assert typed(*settings, "resume=true")[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    code, _, error = typed(f"source={photos}", "part=prefix", "resume=true")
    assert (code, "expected the rows of an earlier prediction" in error) == (2, True)


def test_a_later_view_changes_its_part_when_resumed(predict: Predict, photos: Path) -> None:
    assert predict(f"source={photos}", "part=prefix", "views=2")[0] == 3
    save(photos / "3_right.png", LIGHT)
    save(photos / "2_right.png", DARK)  # taken again: the newest row of a photo counts
    assert predict(f"source={photos}", "part=prefix", "views=2", "resume=true")[0] == 3
    assert {part: row["verdict"] for part, row in rows().items()} == {
        "1": "PASS", "2": "PASS", "3": "REJECT", "4": "REVIEW"
    }  # fmt: skip


def test_all_photos_of_a_part_go_to_one_share(predict: Predict, tmp_path: Path) -> None:
    for part in range(12):
        save(tmp_path / "many" / f"{part}_left.png", DARK)
        save(tmp_path / "many" / f"{part}_right.png", LIGHT if part % 2 else DARK)
    for share in (1, 2):
        assert predict(f"source={tmp_path / 'many'}", "part=prefix", "views=2", f"shard={share}/2")[0] == 0
    first, second = (rows(f"verdicts-{share}of2_parts.csv") for share in (1, 2))
    assert not first.keys() & second.keys()
    assert {part: row["verdict"] for part, row in (first | second).items()} == {
        str(part): "REJECT" if part % 2 else "PASS" for part in range(12)
    }


def test_while_watching_a_missing_view_is_review_after_the_waiting_time(predict: Predict, photos: Path) -> None:
    (photos / "4_left.png").unlink()
    (photos / "4_right.png").unlink()

    def seen(wanted: dict[str, str], seconds: float = 30.0) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            path = Path("verdicts_parts.csv")
            if path.exists() and wanted.items() <= {part: row["verdict"] for part, row in rows().items()}.items():
                return True
            time.sleep(0.05)
        return False

    steps: list[bool] = []

    def line() -> None:
        steps.append(seen({"1": "PASS", "2": "REJECT"}))
        steps.append("3" not in rows())
        steps.append(seen({"3": "REVIEW"}))
        save(photos / "3_right.png", DARK)
        steps.append(seen({"3": "PASS"}))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=line)
    thread.start()
    code, out, _ = predict(f"source={photos}", "watch=true", "part=prefix", "views=2", "part_wait=3")
    thread.join()
    assert (code, steps) == (0, [True] * 4)
    assert "3 parts: 2 PASS, 1 REJECT" in out
