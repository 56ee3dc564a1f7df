"""`python -m qc_lightning.predict`: which photos, what rows, and what is left after a kill."""

import csv
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.stream import Stream
from qc_lightning.prediction.output import VerdictFile, read_written
from qc_lightning.prediction.rows import Row

Predict = Callable[..., tuple[int, str, str]]
COLUMNS = ["path", "sha256", "probability", "verdict", "seconds", "model_id", "error", "time", "threshold", "logit",
           "novelty", "reason"]  # fmt: skip
NOWHERE = Path("/nowhere")


def probability_of(grey: int) -> float:
    """What the model of these tests gives a photo of one grey, by hand: logit = 20 (grey / 255 - 0.5)."""
    return 1 / (1 + math.exp(-20 * (grey / 255 - 0.5)))


def save(path: Path, grey: int, size: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), grey, np.uint8)).save(path)
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(path: Path) -> list[str]:
    return [Path(row["path"]).name for row in read(path)]


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photos of greys 0, 25, ... 225, in two folders."""
    for i in range(10):
        save(tmp_path / "photos" / f"box {i // 5}" / f"{i}.png", 25 * i)
    return tmp_path / "photos"


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
    assert "verdicts.csv is already there: continue it with resume=true" in errors
    code, _, errors = predict(f"source={photos}", "resume=true")
    assert code == 2, "not even to resume: these are no rows"
    assert "expected the rows of an earlier prediction, found b'mine'" in errors
    assert Path("verdicts.csv").read_text() == "mine"


MODEL, TIME = "0123456789ab", "2026-01-31T12:00:00.000+00:00"
ROWS = [
    Row("/a/1.png", "ab" * 32, 0.1234567890123456, "PASS", 0.001, MODEL, None, TIME, 0.5, -1.96, None, None),
    Row('/a/"q",\n2.png', "cd" * 32, 1e-17, "PASS", 0.25, MODEL, None, TIME, 0.5, -39.14, 2.5, None),
    Row("/a/caf\\xe9.png", None, None, "REVIEW", 1e-06, MODEL, 'damaged, "so", or truncated', TIME, 0.5, *3 * [None]),
    Row("/a/grün.png", "ef" * 32, 1.0, "REVIEW", 2.5, MODEL, None, TIME, 0.5, 39.5, 17.0, "unlike, so"),
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_cut_anywhere_and_resumed(tmp_path: Path, suffix: str) -> None:
    """Wherever a file is cut off, going on with it gives the very bytes of one that never was."""
    output = tmp_path / f"v.{suffix}"
    for row in ROWS:
        with VerdictFile(output, read_written(output, resume=output.exists())) as file:
            file.write([row])
    whole = output.read_bytes()
    for cut in [*range(0, len(whole), 1 if suffix == "csv" else 5), len(whole)]:
        output.write_bytes(whole[:cut])
        written = read_written(output, resume=True)
        with VerdictFile(output, written) as file:
            file.write([row for row in ROWS if row.path not in written.sha256])
            assert file.counts == {"PASS": 2, "REVIEW": 2, "error": 1}
        assert output.read_bytes() == whole, cut


@pytest.mark.parametrize(
    ("suffix", "foreign"), [("csv", b"a,b\n1,2\n"), ("csv", b"pat"), ("jsonl", b"{}\n"), ("jsonl", b"x")]
)
def test_other_files_are_not_gone_on_with(tmp_path: Path, suffix: str, foreign: bytes) -> None:
    output = tmp_path / f"v.{suffix}"
    output.write_bytes(foreign)
    if foreign == b"pat":  # of our header
        assert read_written(output, resume=True).end == 0
        return
    with pytest.raises(UserError, match="expected the rows of an earlier prediction"):
        read_written(output, resume=True)


def test_resume_adds_new_photos_only(typed: Predict, photos: Path) -> None:
    typed(f"source={photos}")
    before = Path("verdicts.csv").read_text()
    assert typed(f"source={photos}", "resume=true")[0] == 0
    assert Path("verdicts.csv").read_text() == before
    save(photos / "box 0" / "1b.png", 200)
    typed(f"source={photos}", "resume=true")
    assert Path("verdicts.csv").read_text().startswith(before)
    assert names(Path("verdicts.csv"))[10:] == ["1b.png"]


def test_another_models_rows_are_not_gone_on_with(predict: Predict, photos: Path, run_folder: Path) -> None:
    predict(f"source={photos}")
    text = Path("verdicts.csv").read_text()
    model = read(Path("verdicts.csv"))[0]["model_id"]
    Path("verdicts.csv").write_text(text.replace(model, "0123456789ab"))
    code, _, errors = predict(f"source={photos}", "resume=true")
    assert code == 2
    assert "holds verdicts of model 0123456789ab" in errors


def test_one_process_at_a_time(predict: Predict, photos: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    predict(f"source={photos}")
    with Path("verdicts.csv").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, errors = predict(f"source={photos}", "resume=true")
    assert code == 2
    assert "another process is writing to" in errors


def test_killed_and_resumed(predict: Predict, run_folder: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle: what is there are whole rows, and resuming completes them."""
    many = tmp_path / "many"
    first = save(many / "00000.png", 100, size=200)
    for i in range(1, 4000):
        os.link(first, many / f"{i:05d}.png")
    command = [sys.executable, "-m", "qc_lightning.predict", f"run={run_folder}", f"source={many}"]
    working = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    output = Path("verdicts.csv")
    while working.poll() is None and not (output.exists() and output.stat().st_size > 50_000):
        time.sleep(0.002)
    working.kill()
    working.wait()
    before = output.read_bytes()
    done = before.count(b"\n") - 1
    assert 100 < done < 4000, "killed in the middle"
    code, _, errors = predict(f"source={many}", "resume=true")
    assert code == 0, errors
    assert output.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    assert names(output) == [f"{i:05d}.png" for i in range(4000)]


def test_ctrl_c_leaves_whole_rows_and_says_how_to_go_on(predict: Predict, tmp_path: Path) -> None:
    many = tmp_path / "many"
    first = save(many / "0000.png", 100, size=600)
    for i in range(1, 2000):
        os.link(first, many / f"{i:04d}.png")

    def interrupt() -> None:
        while not (Path("verdicts.csv").exists() and Path("verdicts.csv").stat().st_size > 1000):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, _, errors = predict(f"source={many}")
    thread.join()
    assert code == 130
    done = len(read(Path("verdicts.csv")))
    assert f"stopped: {done} of 2000 photos are done, resume=true continues" in errors
    assert names(Path("verdicts.csv")) == [f"{i:04d}.png" for i in range(done)]
    assert done < 2000


SHARD = """
import sys
sys.argv = ["predict", *sys.argv[1:]]
from qc_lightning.predict import main
main()
print([name for name in ("lightning", "matplotlib", "torchvision", "torchmetrics", "sklearn") if name in sys.modules])
"""


def test_two_processes_of_a_launcher_share_the_photos(run_folder: Path, tmp_path: Path) -> None:
    """Every photo exactly once, found by what torchrun tells its processes; and nothing is imported without need."""
    for i in range(300):
        save(tmp_path / "photos" / f"{i:03d}.png", i % 256, size=8)
    command = [sys.executable, "-c", SHARD, f"run={run_folder}", "source=photos", "output=v.csv", "sort=link"]
    working = [
        subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "RANK": rank, "WORLD_SIZE": "2", "SLURM_PROCID": "0"},
        )
        for rank in "01"
    ]  # fmt: skip
    for process in working:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output.splitlines()[-1] == "[]"
    shares = [names(tmp_path / f"v-{number}of2.csv") for number in (1, 2)]
    assert sorted(shares[0] + shares[1]) == [f"{i:03d}.png" for i in range(300)]
    assert all(share == sorted(share) for share in shares)
    assert 100 < len(shares[0]) < 200, "about half each"
    assert len(list((tmp_path / "v_sorted").rglob("*.png"))) == 300


def test_shards_by_hand_do_not_move_when_photos_are_added(predict: Predict, photos: Path) -> None:
    shares = []
    for number in (1, 2, 3):
        predict(f"source={photos}", f"shard={number}/3")
        shares.append(names(Path(f"verdicts-{number}of3.csv")))
    assert sorted(name for share in shares for name in share) == [f"{i}.png" for i in range(10)]
    save(photos / "box 0" / "0a.png", 1)
    for number in (1, 2, 3):
        predict(f"source={photos}", f"shard={number}/3", "resume=true")
        rows = names(Path(f"verdicts-{number}of3.csv"))
        assert rows[: len(shares[number - 1])] == shares[number - 1]
        assert len(rows) == len(set(rows))


def test_an_allocation_is_no_share(predict: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell inside a SLURM allocation of four tasks, without srun, has these too: all photos are its own."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    predict(f"source={photos}")
    assert len(read(Path("verdicts.csv"))) == 10
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    predict(f"source={photos}")
    assert len(read(Path("verdicts-1of4.csv"))) < 10


def test_order_does_not_depend_on_who_is_done_first(predict: Predict, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for i in range(60):
        save(folder / f"{i:02d}.png", i, size=1500 if i % 20 == 0 else 8)
    predict(f"source={folder}", "batch_size=7")
    assert names(Path("verdicts.csv")) == [f"{i:02d}.png" for i in range(60)]


def test_reading_ahead_is_bounded(run_folder: Path, photos: Path) -> None:
    """A million photos take no more memory than thousands: the list is asked only as far as the threads are."""
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
def test_mistakes(typed: Predict, arguments: list[str], line: str, tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_torchrun(run_folder: Path, tmp_path: Path) -> None:
    for i in range(50):
        save(tmp_path / "photos" / f"{i:03d}.png", i, size=8)
    command = ["torch.distributed.run", "--nproc-per-node=2", "-m", "qc_lightning.predict", f"run={run_folder}"]
    subprocess.run([sys.executable, "-m", *command, "source=photos"], cwd=tmp_path, check=True, timeout=300)
    both = names(tmp_path / "verdicts-1of2.csv") + names(tmp_path / "verdicts-2of2.csv")
    assert sorted(both) == [f"{i:03d}.png" for i in range(50)]
