"""The verdict log: no acknowledged row is lost, and every change of a written row is detected."""

import csv
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from conftest import save_photo
from exported_runs import exported
from qc_lightning import log as log_command
from qc_lightning.core.errors import UserError
from qc_lightning.inference import log_file
from qc_lightning.inference.log_entry import HEADER, Entry
from qc_lightning.inference.log_file import first_fault, query
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.verdict import Verdict
from test_service import TOKEN, Server


def entry(number: int) -> Entry:
    time = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.000+00:00"
    return Entry(time, str(number), "top", "ab" * 32, "m", "", "d", 0.5, number / 7, 0.1, None, "PASS", "", "", 3.25)


def write(path: Path, count: int) -> None:
    log = VerdictLog(path)
    numbers = [log.submit(entry(number)).result(30) for number in range(count)]
    log.close()
    assert numbers == list(range(1, count + 1))


def meddle(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(f"DROP TRIGGER entries_no_update; DROP TRIGGER entries_no_delete; {statement}")


@pytest.fixture
def log(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call `qc-lightning log ARGS`: exit code, stdout, stderr."""
    return lambda *arguments: (call(log_command.main, *map(str, arguments)), *capsys.readouterr())


def test_rows_come_back_as_they_were_written(tmp_path: Path, log: Callable[..., tuple[int, str, str]]) -> None:
    write(tmp_path / "a.sqlite", 20)
    assert [one for _, one, _ in query(tmp_path / "a.sqlite")] == [entry(number) for number in range(20)]
    code, out, _ = log(tmp_path / "a.sqlite", "verify")
    assert (code, "20 rows as they were written" in out) == (0, True)
    assert log(tmp_path / "a.sqlite", "export", f"output={tmp_path / 'a.csv'}")[0] == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["probability"]) for row in rows] == [number / 7 for number in range(20)]


def test_an_export_opens_in_a_german_spreadsheet(tmp_path: Path, log: Callable[..., tuple[int, str, str]]) -> None:
    write(tmp_path / "a.sqlite", 3)
    assert log(tmp_path / "a.sqlite", "export", tmp_path / "a.csv", "separator=;", "decimal=,")[0] == 0
    text = (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert text.startswith("\ufeffid;time;")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [float(row["probability"].replace(",", ".")) for row in csv.DictReader(file, delimiter=";")] == [
            0,
            1 / 7,
            2 / 7,
        ]
    code, _, err = log(tmp_path / "a.sqlite", "export", tmp_path / "a.csv", "separator=,", "decimal=,")
    assert (code, "another one of . and ," in err) == (2, True)


def test_an_export_opens_as_a_workbook_and_as_parquet(tmp_path: Path, log: Callable[..., tuple[int, str, str]]) -> None:
    openpyxl, parquet = pytest.importorskip("openpyxl"), pytest.importorskip("pyarrow.parquet")
    with closing(log_file.connect(tmp_path / "a.sqlite")) as connection:
        log_file.prepare(tmp_path / "a.sqlite")
        log_file.append(connection, [entry(0)._replace(part="=1+1"), entry(3)._replace(reason="bell \x07")])
        log_file.append(connection, [entry(3).override(2, Verdict.REJECT, "Anna", "scratch")])
    for name in ("a.xlsx", "a.parquet"):
        assert log(tmp_path / "a.sqlite", "export", tmp_path / name)[:2] == (0, f"3 rows: {tmp_path / name}\n")
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    header, *rows = openpyxl.load_workbook(tmp_path / "a.xlsx").active.iter_rows(values_only=True)
    assert list(header) == list(table[0]) == list(HEADER)
    first, second = (dict(zip(header, row, strict=True)) for row in rows[:2])
    assert (first["part"], first["id"], first["novelty"]) == ("=1+1", 1, None)
    assert openpyxl.load_workbook(tmp_path / "a.xlsx").active["C2"].data_type == "s", "no formula"
    assert (second["probability"], second["reason"]) == (pytest.approx(3 / 7, rel=1e-15), "bell \ufffd")
    assert [row["probability"] for row in table] == [0.0, 3 / 7, 3 / 7]
    assert [row["overrides"] for row in table] == [None, None, 2]
    code, _, err = log(tmp_path / "a.sqlite", "export", tmp_path / "a.ods")
    assert (code, ".csv, .xlsx or .parquet" in err) == (2, True)


def test_a_workbook_without_its_package_is_one_line(
    tmp_path: Path, log: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.sqlite", 1)
    for name, package in (("a.xlsx", "openpyxl"), ("a.parquet", "pyarrow")):
        monkeypatch.setitem(sys.modules, package, None)
        code, _, err = log(tmp_path / "a.sqlite", "export", tmp_path / name)
        assert (code, err.count("\n"), f"needs {package}: pip install" in err) == (2, 1, True)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("action", ["export", "dataset"])
def test_a_place_that_is_a_file_is_one_line(
    tmp_path: Path, log: Callable[..., tuple[int, str, str]], action: str
) -> None:
    write(tmp_path / "a.sqlite", 1)
    code, _, err = log(tmp_path / "a.sqlite", action, tmp_path / "a.sqlite" / "b.csv")
    assert (code, err.count("\n"), "Not a directory" in err) == (2, 1, True)


def test_rows_cannot_be_changed_or_removed(tmp_path: Path) -> None:
    write(tmp_path / "a.sqlite", 3)
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        for statement in ("UPDATE entries SET verdict = 'REJECT'", "DELETE FROM entries"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "intact", "fault"),
    [
        ("UPDATE entries SET verdict = 'REJECT' WHERE id = 7", 6, "row 7 was changed"),
        ("UPDATE entries SET probability = probability + 1e-15 WHERE id = 3", 2, "row 3 was changed"),
        ("DELETE FROM entries WHERE id = 5", 4, "row 5 is missing"),
        ("DELETE FROM entries WHERE id = 1", 0, "row 1 is missing"),
    ],
)
def test_verify_finds_what_was_changed_behind_the_triggers(
    tmp_path: Path, log: Callable[..., tuple[int, str, str]], statement: str, intact: int, fault: str
) -> None:
    write(tmp_path / "a.sqlite", 10)
    meddle(tmp_path / "a.sqlite", statement)
    assert first_fault(tmp_path / "a.sqlite")[0] == intact
    code, out, _ = log(tmp_path / "a.sqlite", "verify")
    assert (code, fault in out) == (1, True)


def test_a_clock_that_was_set_back_shows(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "a.sqlite")
    for second in ("05.000", "06.000", "05.200", "05.100", "04.950"):  # of two threads; set back, in small steps too
        log.submit(entry(0)._replace(time=f"2026-01-01T00:00:{second}+00:00")).result(30)
    log.close()
    count, _, fault = first_fault(tmp_path / "a.sqlite")
    assert (count, "row 5 is of 2026-01-01T00:00:04.950+00:00" in fault) == (4, True)


def test_rows_that_were_cut_off_show_by_a_digest_that_was_kept(
    tmp_path: Path, log: Callable[..., tuple[int, str, str]]
) -> None:
    path = tmp_path / "a.sqlite"
    write(path, 10)
    kept = log(path, "verify")[1].split()[-1]
    assert log(path, "verify", f"digest={kept}")[0] == 0
    meddle(path, "DELETE FROM entries WHERE id > 8")
    assert log(path, "verify")[0] == 0
    code, out, _ = log(path, "verify", f"digest={kept}")
    assert (code, out.splitlines()[-1]) == (1, f"no row has the digest {kept}: rows were cut off or written again")


def test_two_writers_make_one_chain(tmp_path: Path) -> None:
    logs = [VerdictLog(tmp_path / "a.sqlite") for _ in range(2)]
    waiting = [log.submit(entry(0)) for _ in range(40) for log in logs]
    assert sorted(one.result(30) for one in waiting) == list(range(1, 81))
    for log in logs:
        log.close()
    assert first_fault(tmp_path / "a.sqlite")[::2] == (80, "")


WRITER = """
from pathlib import Path
from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_entry import Entry
from qc_lightning.inference.verdict_log import VerdictLog
entry = Entry({time!r}, "1", "top", "ab" * 32, "m", "", "d", 0.5, 0.25, 0.1, None, "PASS", "", "", 3.25)
log = VerdictLog(Path({path!r}))
"""


def test_no_acknowledged_row_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "a.sqlite", 0
    for rows in (1, 7, 30):
        script = WRITER.format(time=entry(0).time, path=str(path))
        script += "while True: print(log.submit(entry).result(), flush=True)"
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(rows):
                acknowledged = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
        count, _, fault = first_fault(path)
        assert (count >= acknowledged, fault) == (True, "")


def test_a_full_disk_is_said_and_leaves_the_chain_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    script = WRITER.format(time=entry(0).time, path=str(path))
    script += """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
number = 0
try:
    while number < 5000:
        number = log.submit(entry).result()
except UserError as error:
    print(number, bool(log.trouble), error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    acknowledged, trouble, words = done.split(" ", 2)
    assert (trouble, "cannot be written" in words) == ("True", True)
    count, _, fault = first_fault(path)
    assert (count >= int(acknowledged) > 0, fault) == (True, "")


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be taken for one" * 20, None])
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.sqlite"
    if content is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE other (x)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"another program|cannot write") as error:
        VerdictLog(path)
    assert "\n" not in str(error.value)
    assert path.read_bytes()[100:] == before[100:]


def test_the_service_answers_once_the_row_is_written(tmp_path: Path, log: Callable[..., tuple[int, str, str]]) -> None:
    model, path, kept = exported(tmp_path / "inspector.onnx"), tmp_path / "line.sqlite", tmp_path / "kept"
    server = Server(f"model={model}", f"log={path}", QC_LIGHTNING_TOKEN=TOKEN)
    server.client.headers["authorization"] = f"Bearer {TOKEN}"
    answers = []
    for seed in range(6):
        photo = save_photo(kept / f"{seed}.png", bright=seed % 2 == 0, seed=seed)
        params = {"part": seed, "camera": "top"}
        answers.append(server.client.post("/v1/inspect", params=params, content=photo.read_bytes()).json())
        *_, (number, row, _) = query(path)
        assert (number, row.part, row.source, row.verdict) == (seed + 1, str(seed), "top", answers[-1]["verdict"])
    assert server.client.post("/v1/inspect", content=b"no photo").status_code == 422
    *_, (_, row, _) = query(path)
    assert (row.verdict, row.probability, row.error != "") == ("REVIEW", None, True)
    assert server.stop() == 0
    assert log(path, "verify")[0] == 0
    code, out, _ = log(path, "replay", f"model={model}", f"photos={kept}")
    assert (code, out.splitlines()[-1]) == (0, "6 photos: 6 as in the log, 0 not, 0 without a row")
    meddle(
        path,
        f"UPDATE entries SET verdict = '{'PASS' if answers[2]['verdict'] == 'REJECT' else 'REJECT'}' WHERE id = 3",
    )
    code, out, _ = log(path, "replay", f"model={model}", f"photos={kept}")
    assert (code, out.count("2.png was")) == (1, 1)
