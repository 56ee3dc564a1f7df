"""Sweeps as processes: killed and resumed, with each real launcher."""

import csv
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import hears_ctrl_c
from qc_lightning.core.ray_environment import prepare_ray

pytestmark = pytest.mark.slow
POINTS = ("optim.lr=1e-2,1e-3,1e-4", "model.hidden=[16],[8]")
SMALL = (
    "data.image_size=16",
    "model.hidden=[16]",
    "data.batch_size=2",
    "data.split.val=0.3",
    "trainer.max_epochs=20",
    "report=false",
    "trainer=cpu",
)


def needs(package: str) -> None:
    if importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")


def begin(folder: Path, photo_root: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "qc_lightning.train", "-m", "data=folder", f"data.root={photo_root}", *SMALL]
    # its own session, so that all its processes can be killed together
    return subprocess.Popen(
        [*command, *POINTS, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )


def wait_for_jobs(folder: Path, count: int, process: "subprocess.Popen[str]") -> set[Path]:
    end = time.monotonic() + 150
    while time.monotonic() < end and process.poll() is None:
        done = set(folder.glob("outputs/sweeps/*/*/[0-9]*/job.json"))
        if len(done) >= count:
            return done
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate()[0])


def table(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("outputs/sweeps/*/*/sweep.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["folder"]
    return rows


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[dict[str, str]]]:
    """The table that a sweep in one process ends with; computed on first use."""
    known: list[list[dict[str, str]]] = []

    def of(photo_root: Path) -> list[dict[str, str]]:
        if not known:
            folder = tmp_path_factory.mktemp("unbroken")
            process = begin(folder, photo_root)
            output, _ = process.communicate(timeout=200)
            assert process.returncode == 0, output
            known.append(table(folder))
        return known[0]

    return of


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("hydra", []),
        ("hydra_plugins.hydra_joblib_launcher", ["hydra/launcher=workstation"]),
        ("hydra_plugins.hydra_submitit_launcher", ["hydra/launcher=submitit_local"]),
    ],
)
def test_a_killed_sweep_is_gone_on_with(
    package: str,
    arguments: list[str],
    tmp_path: Path,
    photo_root: Path,
    unbroken: Callable[[Path], list[dict[str, str]]],
) -> None:
    needs(package)
    first = begin(tmp_path, photo_root, *arguments)
    done = wait_for_jobs(tmp_path, 1, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    time.sleep(0.5)
    stamps = {path: path.stat().st_mtime_ns for path in done}

    second = begin(tmp_path, photo_root, *arguments, "sweep.resume=latest")
    output, _ = second.communicate(timeout=250)
    assert second.returncode == 0, output
    assert {path: path.stat().st_mtime_ns for path in done} == stamps, "finished jobs are not run again"
    assert "best so far" in output
    rows = table(tmp_path)
    assert [row["status"] for row in rows] == ["finished"] * 6
    # metrics of other launchers may differ in the last digits: their processes have other numbers of threads
    expected = {row["job"]: float(row["val_loss"]) for row in unbroken(photo_root)}
    assert {row["job"]: float(row["val_loss"]) for row in rows} == pytest.approx(expected, rel=1e-3)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, photo_root: Path) -> None:
    process = begin(tmp_path, photo_root)
    wait_for_jobs(tmp_path, 1, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 130, output
    (folder,) = tmp_path.glob("outputs/sweeps/*/*")
    assert f"sweep.resume={folder.relative_to(tmp_path)}" in output
    assert "Traceback" not in output


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_ray_survives_the_loss_of_a_node(
    tmp_path: Path, photo_root: Path, unbroken: Callable[[Path], list[dict[str, str]]]
) -> None:
    needs("hydra_plugins.hydra_ray_launcher")
    needs("ray")
    prepare_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        address = f"ray.address={cluster.address}"
        process = begin(tmp_path, photo_root, "hydra/launcher=ray_cluster", address)
        wait_for_jobs(tmp_path, 1, process)
        cluster.remove_node(lost, allow_graceful=False)
        output, _ = process.communicate(timeout=300)
    finally:
        cluster.shutdown()
    assert process.returncode == 0, output
    rows = table(tmp_path)
    assert [row["status"] for row in rows] == ["finished"] * 6
    expected = {row["job"]: float(row["val_loss"]) for row in unbroken(photo_root)}
    assert {row["job"]: float(row["val_loss"]) for row in rows} == pytest.approx(expected, rel=1e-3)
