"""`python -m qc_lightning.predict`: selected photos, rows, and refusals."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from predictions import names, probability_of, read, save, ten_photos, tree
from qc_lightning.core.run import Run
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.stream import Stream

Predict = Callable[..., tuple[int, str, str]]
COLUMNS = ["path", "sha256", "probability", "verdict", "seconds", "model_id", "error", "time", "threshold", "logit",
           "novelty", "reason", "part", "camera", "certificate"]  # fmt: skip
NOWHERE = Path("/nowhere")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return ten_photos(tmp_path / "photos")


def test_a_row_a_photo(typed: Predict, photos: Path) -> None:
    code, output, _ = typed(f"source={photos}")
    assert code == 0
    rows = read(Path("verdicts.csv"))
    assert list(rows[0]) == COLUMNS
    for i, row in enumerate(rows):
        path = photos / f"box {i // 5}" / f"{i}.png"
        assert row["path"] == str(path)
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert float(row["probability"]) == pytest.approx(probability_of(25 * i), rel=1e-4)
        assert row["verdict"] == ("REJECT" if 25 * i >= 127.5 else "PASS")
        assert 0 < float(row["seconds"]) < 10
        assert len(row["model_id"]) == 12
        assert row["error"] == ""
    assert len(rows) == 10
    assert "6 PASS, 4 REJECT" in output
    assert [path.name for path in Path.cwd().iterdir()] == ["verdicts.csv"], "nothing else is written"


def test_json_lines_and_parquet_hold_the_same(predict: Predict, photos: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    for output in ("a.csv", "a.jsonl", "a.parquet"):
        assert predict(f"source={photos}", f"output={output}")[0] == 3
    lines = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    table = parquet.read_table("a.parquet").to_pylist()
    for csv_row, line, row in zip(read(Path("a.csv")), lines, table, strict=True):
        for one in (csv_row, line, row):
            del one["seconds"], one["time"]
        assert line == row
        assert csv_row == {key: "" if value is None else str(value) for key, value in line.items()}
    assert not list(Path().glob("*.parquet.*")), "the rows kept meanwhile are gone"
    (photos / "new.png").write_bytes((photos / "box 1" / "9.png").read_bytes())
    assert predict(f"source={photos}", "output=a.parquet", "resume=true")[0] == 3
    table = parquet.read_table("a.parquet").to_pylist()
    assert [Path(row["path"]).name for row in table][-1] == "new.png"
    assert len(table) == 12


def test_bad_files_get_a_row_and_the_rest_go_on(predict: Predict, photos: Path) -> None:
    (photos / "box 0" / "2.png").write_bytes((photos / "box 0" / "2.png").read_bytes()[:45])
    (photos / "box 0" / "3.png").write_bytes(b"")
    (photos / "box 1" / "gone.png").symlink_to("nothing")
    code, output, errors = predict(f"source={photos}")
    assert code == 3
    assert "photos with an error: 3" in errors
    assert "5 PASS" not in output
    assert "4 PASS, 4 REJECT, 3 REVIEW" in output
    bad = {Path(row["path"]).name: row for row in read(Path("verdicts.csv")) if row["error"]}
    assert {name: row["error"] for name, row in bad.items() if name != "2.png"} == {
        "3.png": "empty file", "gone.png": "no such file or directory",
    }  # fmt: skip
    assert {(row["verdict"], row["probability"], row["reason"]) for row in bad.values()} == {
        ("REVIEW", "", "cannot be read")
    }
    assert len(read(Path("verdicts.csv"))) == 11


def test_an_output_is_never_overwritten(predict: Predict, photos: Path) -> None:
    Path("verdicts.csv").write_text("mine")
    code, _, errors = predict(f"source={photos}")
    assert code == 2
    assert "verdicts.csv already exists: continue it with resume=true" in errors
    code, _, errors = predict(f"source={photos}", "resume=true")
    assert code == 2, "not even to resume: these are no rows"
    assert "expected the rows of an earlier prediction, found b'mine'" in errors
    assert Path("verdicts.csv").read_text() == "mine"


def test_order_does_not_depend_on_who_is_done_first(predict: Predict, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for i in range(60):
        save(folder / f"{i:02d}.png", i, size=1500 if i % 20 == 0 else 8)
    predict(f"source={folder}", "batch_size=7")
    assert names(Path("verdicts.csv")) == [f"{i:02d}.png" for i in range(60)]


def test_reading_ahead_is_bounded(run_folder: Path, photos: Path) -> None:
    """A million photos take no more memory than thousands: the list is read only as far as the threads have come."""
    asked, seen = 0, 0

    def endless() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield photos / "box 0" / "1.png"

    with Stream(Inspector.load(Run(run_folder), "cpu"), batch_size=32) as stream:
        for batch in stream.inspect(endless()):
            seen += len(batch)
            assert len(batch) <= 32
            assert asked - seen <= (4 * 16 + 2 * 32) * len(os.sched_getaffinity(0)) + 100
            if seen > 3000:
                break


def test_a_name_that_is_no_text(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    folder = os.fsencode(tmp_path / "photos")
    good = save(tmp_path / "good.png", 10)
    for name in (b"caf\xe9.png", b"line\nend.png", b'"q",.png', "grün.png".encode()):
        os.link(os.fsencode(good), folder + b"/" + name)
    assert predict(f"source={tmp_path}/photos")[0] == 0
    assert names(Path("verdicts.csv")) == ['"q",.png', "caf\\xe9.png", "grün.png", "line\nend.png"]
    assert predict(f"source={tmp_path}/photos", "resume=true")[0] == 0
    assert len(read(Path("verdicts.csv"))) == 4


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "source: expected a photo, a folder, a glob, a .txt list or a .csv"),
        (["source=nothing"], "source: expected a photo, a folder, a glob, a .txt list or a .csv, there is no"),
        (["source=."], "source: expected photos in"),
        (["source=*.png"], "found none"),
        (["source=no.csv"], "no.csv: expected a column 'path' in line 1, got: file"),
        (["source=no.txt"], "source: expected a list of paths in"),
        (["source=.", "output=verdicts.ods"], "output: expected a name that ends in .csv, .jsonl, .parquet, .xlsx"),
        (["source=.", "output=folder.csv"], "output: expected a file, "),
        (
            ["source=.", "run=nowhere"],
            "expected a run folder (with split.csv and checkpoints/ in it), latest or a release, got nowhere",
        ),
        (["source=.", "run=latest"], "run=latest: no finished run below"),
        (["source=.", "device=gpu"], "device: expected auto, cpu, cuda or cuda:<n>, got 'gpu'"),
        (["source=a.png", "device=cuda:7"], "device=cuda:7: "),
        (["source=.", "sort=move"], "sort: expected one of none, copy, link, got 'move'"),
        (["source=.", "shard=0/2"], "shard: expected i/n with i from 1 to n"),
        (["source=.", "batch_size=0"], "batch_size: expected at least 1, got 0"),
        (["source=a.png", "watch=true"], "source: watch=true expects a folder"),
        (["sauce=."], "there is no setting 'sauce' (did you mean source?)"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(
    typed: Predict, arguments: list[str], line: str, tmp_path: Path
) -> None:
    if "source=a.png" in arguments:
        save(Path("a.png"), 1)
    Path("no.csv").write_text("file\na.png\n")
    Path("no.txt").write_bytes(b"\x00\x01\n")
    Path("folder.csv").mkdir()
    before = tree(Path())
    code, _, errors = typed(*arguments)
    assert code == 2
    (error,) = errors.splitlines()
    assert error.startswith("error: ")
    assert line in error
    assert tree(Path()) == before, "nothing is written"


def test_a_mistake_in_an_empty_folder_leaves_the_folder(typed: Predict) -> None:
    assert typed("source=nothing")[0] == 2
    assert Path.cwd().is_dir()


def test_a_workbook_holds_the_same_and_is_continued(predict: Predict, photos: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")

    def sheet() -> list[dict[str, object]]:
        header, *rows = openpyxl.load_workbook("a.xlsx").active.iter_rows(values_only=True)
        return [dict(zip(header, row, strict=True)) for row in rows]

    for output in ("a.csv", "a.xlsx"):
        assert predict(f"source={photos}", f"output={output}")[0] == 0
    expected = {row["path"]: row for row in read(Path("a.csv"))}
    found = {str(row["path"]): row for row in sheet()}
    assert found.keys() == expected.keys()
    for path, row in found.items():
        assert row["verdict"] == expected[path]["verdict"]
        assert row["probability"] == pytest.approx(float(expected[path]["probability"]))
    (photos / "new.png").write_bytes((photos / "box 1" / "9.png").read_bytes())
    assert predict(f"source={photos}", "output=a.xlsx", "resume=true")[0] == 0
    assert len(sheet()) == len(found) + 1
    Path("a.xlsx.jsonl").unlink()
    code, _, errors = predict(f"source={photos}", "output=a.xlsx", "resume=true")
    assert (code, "cannot be continued without a.xlsx.jsonl" in errors) == (2, True)


def test_parquet_without_its_package(predict: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, errors = predict(f"source={photos}", "output=v.parquet")
    assert code == 2
    assert 'needs pyarrow: pip install "qc-lightning[parquet]"' in errors


@pytest.mark.parametrize(
    "arguments", [["predict", "--help"], ["predict", "source=nothing", "run=here"], ["evaluate", "data.root=nothing"]]
)
def test_quick_answers_import_no_torch(arguments: list[str], run_folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from importlib import import_module\n"
        "command = import_module('qc_lightning.' + sys.argv[1]); sys.argv = sys.argv[1:]\n"
        "try: command.main()\n"
        "finally: print('torch' in sys.modules)"
    )
    (tmp_path / "here").symlink_to(run_folder)
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
    if arguments[-1] == "--help":
        assert "Exit codes: 0 every photo was read" in done.stdout
    else:
        assert done.returncode == 2
