"""`engine=ray` on a cluster of two nodes, one of which is lost."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from predictions import rows, save
from qc_lightning.core.ray_environment import prepare_ray

prepare_ray()
pytest.importorskip("ray")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]


@pytest.fixture
def many_photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    one = save(tmp_path / "one.png", 9)
    for number in range(6000):
        os.link(one, tmp_path / f"photos/{number}.png")
    return tmp_path / "photos"


def begin(run_folder: Path, photos: Path, address: str, *arguments: str) -> "subprocess.Popen[str]":
    """A prediction that writes a part for each task, and ends after five seconds without a node."""
    script = (
        "from qc_lightning.prediction import part_files; part_files._SECONDS = 0.0;"
        "from qc_lightning.data.cluster import worker_pool; worker_pool._PATIENCE = 5.0; worker_pool._NOTICE = 2.0;"
        "from qc_lightning.predict import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, f"run={run_folder}", f"source={photos}", "engine=ray",
         f"ray.address={address}", f"output={photos.parent / 'out'}", *arguments],
        cwd=photos.parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_part(working: "subprocess.Popen[str]", output: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and not list(output.glob("part-*")) and working.poll() is None:
        time.sleep(0.01)


def names_of(output: Path) -> list[str]:
    return sorted(str(row["path"]) for row in rows(output))


@pytest.mark.parametrize("cores_of_head", [1, 0])
def test_a_lost_node_loses_and_doubles_nothing(cores_of_head: int, run_folder: Path, many_photos: Path) -> None:
    """The other node finishes the work; if it has no room, the prediction ends with one line and can be resumed."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 150 << 20}
    output = many_photos.parent / "out"
    expected = sorted(map(str, many_photos.iterdir()))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": cores_of_head, **small})
    try:
        lost = nodes.add_node(num_cpus=1, **small)
        nodes.wait_for_nodes()
        working = begin(run_folder, many_photos, nodes.address)
        wait_for_part(working, output)
        nodes.remove_node(lost, allow_graceful=False)
        said, errors = working.communicate(timeout=240)
        if cores_of_head:
            assert working.returncode == 0, errors
        else:
            assert working.returncode == 2, errors
            *_, line = errors.splitlines()
            done = names_of(output)
            assert 0 < len(done) < len(expected)
            assert "no node has had room for a worker, which needs 1 cores, 1.0 GB of memory: add a node" in line
            assert line.endswith(f"{len(done)} of 6000 photos are done, resume=true continues")
            assert "Traceback" not in errors
            assert json.loads((output / "index.json").read_text())["complete"] is False
            nodes.add_node(num_cpus=1, **small)
            nodes.wait_for_nodes()
            working = begin(run_folder, many_photos, nodes.address, "resume=true")
            said, errors = working.communicate(timeout=240)
            assert working.returncode == 0, errors
            assert f"{len(done)} have a row" in said
    finally:
        nodes.shutdown()
    assert names_of(output) == expected
