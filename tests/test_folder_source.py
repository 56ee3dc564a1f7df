"""A drop folder: half-written copies, renames, replaced files, a removed folder, a restarted service."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import save_photo
from exported_runs import exported
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.log_entry import Entry
from qc_lightning.inference.log_file import first_fault, query
from test_service import Server
from test_sinks import until


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("folder") / "inspector.onnx")


@pytest.fixture
def line(model: Path, tmp_path: Path) -> Iterator[tuple[Server, Path, Path]]:
    (tmp_path / "in").mkdir()
    server = start(model, tmp_path)
    yield server, tmp_path / "in", tmp_path / "line.sqlite"
    if server.process.poll() is None:
        assert server.stop() == 0


def start(model: Path, folder: Path) -> Server:
    settings = ("rest=0.3", "keep=all", f"csv={folder / 'rows.csv'}")
    return Server(f"model={model}", f"log={folder / 'line.sqlite'}", f"source={folder / 'in'}", *settings)


def rows(log: Path) -> list[Entry]:
    return [entry for _, entry, _ in query(log)]


def test_each_photo_gets_its_verdict_once(line: tuple[Server, Path, Path], model: Path, tmp_path: Path) -> None:
    server, folder, log = line
    aside = [save_photo(tmp_path / "aside" / f"{seed}.png", bright=seed % 2 == 0, seed=seed) for seed in range(6)]
    for path in aside[:3]:
        shutil.copy(path, folder)
    shutil.copy(aside[3], folder / "3.png.part")
    (folder / "3.png.part").rename(folder / "3.png")
    half = aside[4].read_bytes()
    with (folder / "4.png").open("wb") as file:
        file.write(half[: len(half) // 2])
        file.flush()
        time.sleep(1.0)  # longer than the required rest
        file.write(half[len(half) // 2 :])
    until(lambda: len(rows(log)) >= 5)
    expected = {path.name: ExportedInspector.load(model)(path) for path in aside}
    found = {entry.part: entry for entry in rows(log)}
    assert sorted(found) == [f"{seed}.png" for seed in range(5)]
    for name, entry in found.items():
        assert (entry.verdict, entry.sha256) == (expected[name].verdict, expected[name].sha256)
        assert (entry.source, entry.error) == (str(folder), "")
    # another part under an existing name
    shutil.copy(aside[5], folder / "0.png")
    until(lambda: len(rows(log)) == 6)
    assert (rows(log)[-1].part, rows(log)[-1].sha256) == ("0.png", expected["5.png"].sha256)
    os.utime(folder / "1.png")  # touched, not changed
    # the service restarts: nothing is inspected twice
    assert server.stop() == 0
    again = start(model, tmp_path)
    save_photo(folder / "new.png", bright=True, seed=99)
    until(lambda: len(rows(log)) == 7)
    time.sleep(0.5)
    assert [entry.part for entry in rows(log)][-1] == "new.png"
    assert len(rows(log)) == 7
    assert len(again.client.get("/v1/rows", params={"after": 5}).json()["rows"]) == 2
    assert again.stop() == 0
    assert first_fault(log)[::2] == (7, "")
    assert len((tmp_path / "rows.csv").read_text(encoding="utf-8-sig").splitlines()) == 1 + 7


def test_a_folder_that_is_gone_is_an_alarm(line: tuple[Server, Path, Path]) -> None:
    server, folder, log = line
    shutil.rmtree(folder)
    until(lambda: "source" in server.client.get("/v1/state").json()["alarms"])
    folder.mkdir()
    save_photo(folder / "a.png", bright=True, seed=1)
    until(lambda: len(rows(log)) == 1)
    until(lambda: server.client.get("/v1/state").json()["alarms"] == {})
