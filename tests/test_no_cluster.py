"""`engine=ray` without a cluster: one line, at once. In its own file, since no test here may have a cluster."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from predictions import save
from qc_lightning.core.ray_environment import prepare_ray

prepare_ray()
pytest.importorskip("ray")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]
TOKEN = "0123456789abcdef" * 4
Ask = Callable[[str, Path], subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(run_folder: Path, tmp_path: Path) -> Ask:
    """Predict on a cluster, with a home folder that may contain a token."""
    save(tmp_path / "photos" / "a.png", 9)

    def predict(address: str, home: Path) -> subprocess.CompletedProcess[str]:
        home.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return subprocess.run(
            [sys.executable, "-m", "qc_lightning.predict", f"run={run_folder}", f"source={tmp_path / 'photos'}",
             "engine=ray", f"ray.address={address}", f"output={tmp_path / 'verdicts'}"],
            cwd=tmp_path, capture_output=True, text=True, env={**environment, "HOME": str(home)},
        )  # fmt: skip

    return predict


def heads() -> list[int]:
    """Heads of clusters that run on this machine."""
    import psutil

    return [process.pid for process in psutil.process_iter(["name"]) if "gcs_server" in (process.info["name"] or "")]


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("127.0.0.1:1", "ray.address: expected a Ray cluster at 127.0.0.1:1, none answers there (Connection refused)"),
        ("auto", "ray.address=auto: no Ray cluster runs on this machine"),
        ("head", "ray.address: expected auto, local or <head>:<port>"),
    ],
)
def test_a_cluster_that_does_not_answer_is_one_line(address: str, line: str, ask: Ask, tmp_path: Path) -> None:
    end = time.monotonic() + 30
    while address == "auto" and heads() and time.monotonic() < end:  # one of an earlier test may still be shutting down
        time.sleep(0.5)
    if address == "auto" and heads():
        pytest.skip("someone else's cluster runs on this machine")
    begun = time.monotonic()
    done = ask(address, tmp_path / "home")
    assert done.returncode == 2
    assert time.monotonic() - begun < 60
    assert line in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "verdicts").exists()


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster that requires a token."""
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port=0", "--num-cpus=1", "--block",
        "--include-dashboard=false", f"--object-store-memory={100 << 20}", "--disable-usage-stats",
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("head") / "log"
    with log.open("w") as file:
        head = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        end, found = time.monotonic() + 60, None
        while time.monotonic() < end and head.poll() is None and found is None:
            found = re.search(r"--address='([\d.]+:\d+)'", log.read_text())
            time.sleep(0.2)
        assert found, log.read_text()
        yield found[1]
    finally:
        head.terminate()
        head.wait(60)


def test_a_cluster_that_asks_for_a_token(guarded: str, ask: Ask, tmp_path: Path) -> None:
    for home, token, there in (("none", "", "none here"), ("wrong", "f" * 64, "another one")):
        if token:
            (tmp_path / home / ".ray").mkdir(parents=True)
            (tmp_path / home / ".ray" / "auth_token").write_text(token)
        done = ask(guarded, tmp_path / home)
        assert done.returncode == 2, done.stderr
        assert f"ray.address={guarded}: the cluster asks for a token, there is {there}: copy the head's" in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert not (tmp_path / "verdicts").exists()
    (tmp_path / "right" / ".ray").mkdir(parents=True)
    (tmp_path / "right" / ".ray" / "auth_token").write_text(TOKEN)
    done = ask(guarded, tmp_path / "right")
    assert done.returncode == 0, done.stderr
    assert "1 PASS" in done.stdout
