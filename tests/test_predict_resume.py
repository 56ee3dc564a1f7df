"""A prediction after a kill or Ctrl-C, its continuation, and the distribution of photos over processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import Predict
from predictions import names, read, save, ten_photos
from qc_lightning.core.csv_files import USUAL, Marks
from qc_lightning.core.errors import UserError
from qc_lightning.prediction.output import VerdictFile, read_written
from qc_lightning.prediction.rows import Row


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return ten_photos(tmp_path / "photos")


MODEL, TIME = "0123456789ab", "2026-01-31T12:00:00.000+00:00"
NONE, TOP = (None, None, "none"), ("part,1", "top", "holds")  # part, camera, certificate
ROWS = [
    Row("/a/1.png", "ab" * 32, 0.1234567890123456, "PASS", 0.001, MODEL, None, TIME, 0.5, -1.96, None, None, *NONE),
    Row('/a/"q",\n2.png', "cd" * 32, 1e-17, "PASS", 0.25, MODEL, None, TIME, 0.5, -39.14, 2.5, None, *TOP),
    Row("/a/caf\\xe9.png", None, None, "REVIEW", 1e-06, MODEL, 'damaged, "so"', TIME, 0.5, *3 * [None], *NONE),
    Row("/a/grün.png", "ef" * 32, 1.0, "REVIEW", 2.5, MODEL, None, TIME, 0.5, 39.5, 17.0, "unlike, so", *NONE),
]


@pytest.mark.parametrize(("suffix", "marks"), [("csv", USUAL), ("csv", Marks(";", ",")), ("jsonl", USUAL)])
def test_cut_anywhere_and_resumed(tmp_path: Path, suffix: str, marks: Marks) -> None:
    """Wherever a file is cut off, resuming gives the same bytes as an uninterrupted prediction."""
    output = tmp_path / f"v.{suffix}"
    for row in ROWS:
        with VerdictFile(output, read_written(output, output.exists(), marks)) as file:
            file.write([row])
    whole = output.read_bytes()
    for cut in [*range(0, len(whole), 1 if suffix == "csv" and marks == USUAL else 5), len(whole)]:
        output.write_bytes(whole[:cut])
        written = read_written(output, True, marks)
        with VerdictFile(output, written) as file:
            file.write([row for row in ROWS if row.path not in written.sha256])
            assert file.counts == {"PASS": 2, "REVIEW": 2, "error": 1}
        assert output.read_bytes() == whole, cut


@pytest.mark.parametrize(
    ("suffix", "foreign"), [("csv", b"a,b\n1,2\n"), ("csv", b"pat"), ("jsonl", b"{}\n"), ("jsonl", b"x")]
)
def test_other_files_are_not_continued(tmp_path: Path, suffix: str, foreign: bytes) -> None:
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


def test_another_models_rows_are_not_continued(predict: Predict, photos: Path, run_folder: Path) -> None:
    predict(f"source={photos}")
    text = Path("verdicts.csv").read_text()
    model = read(Path("verdicts.csv"))[0]["model_id"]
    Path("verdicts.csv").write_text(text.replace(model, "0123456789ab"))
    code, _, errors = predict(f"source={photos}", "resume=true")
    assert code == 2
    assert "holds verdicts of model 0123456789ab" in errors


def test_rows_by_another_threshold_stay_and_are_named(predict: Predict, photos: Path) -> None:
    """As of somebody who decides after a prediction, and continues it."""
    predict(f"source={photos}")
    rows = read(Path("verdicts.csv"))
    text = Path("verdicts.csv").read_text().replace(f",{rows[0]['threshold']},", ",0.125,")
    Path("verdicts.csv").write_text(text)
    code, output, _ = predict(f"source={photos}", "resume=true")
    assert code == 0
    assert "has verdicts by the threshold 0.125, which stay; the decision in force has 0.5: for its" in output
    assert Path("verdicts.csv").read_text() == text


def test_one_process_at_a_time(predict: Predict, photos: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    predict(f"source={photos}")
    with Path("verdicts.csv").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, errors = predict(f"source={photos}", "resume=true")
    assert code == 2
    assert "another process is writing to" in errors


def test_a_killed_prediction_has_complete_rows_and_resumes(predict: Predict, run_folder: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle: the existing rows are complete, and resuming adds the others."""
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


def test_ctrl_c_leaves_whole_rows_and_says_how_to_continue(predict: Predict, tmp_path: Path) -> None:
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
    """Every photo exactly once, by the environment of torchrun; and no unnecessary imports."""
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
    """A shell inside a Slurm allocation of four tasks, without srun, has these variables too: it gets all photos."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    predict(f"source={photos}")
    assert len(read(Path("verdicts.csv"))) == 10
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    predict(f"source={photos}")
    assert len(read(Path("verdicts-1of4.csv"))) < 10


@pytest.mark.slow
def test_two_processes_of_torchrun_share_the_photos(run_folder: Path, tmp_path: Path) -> None:
    for i in range(50):
        save(tmp_path / "photos" / f"{i:03d}.png", i, size=8)
    command = ["torch.distributed.run", "--nproc-per-node=2", "-m", "qc_lightning.predict", f"run={run_folder}"]
    subprocess.run([sys.executable, "-m", *command, "source=photos"], cwd=tmp_path, check=True, timeout=300)
    both = names(tmp_path / "verdicts-1of2.csv") + names(tmp_path / "verdicts-2of2.csv")
    assert sorted(both) == [f"{i:03d}.png" for i in range(50)]
