"""The bundle for the line in its own environment, as on a PC without torch and network access."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import qc_lightning
from exported_runs import PAPER, run_of
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.deployment.bundle import line_packages, make_bundle
from qc_lightning.deployment.export_run import export_inspector
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.inference.inspector import Inspector
from test_export import NOT_ON_THE_LINE

TOP = Path(qc_lightning.__file__).parents[2]

# allowed imports of the inspector and of `verify`, besides the standard library
MAY_BE_IMPORTED = {"PIL", "numpy", "onnxruntime", "qc_lightning"}

SCRIPT = """
import importlib.util, json, sys
from qc_lightning.inference.inspector import Inspector
inspector = Inspector.load("inspector.onnx")
inspector.verify_golden()
found = {path: [one.verdict, one.probability] for path in sys.argv[2:] for one in [inspector(path)]}
modules = {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
there = [name for name in json.loads(sys.argv[1]) if importlib.util.find_spec(name)]
print(json.dumps({"found": found, "modules": sorted(modules), "there": there}))
"""


def test_the_line_needs_what_pyproject_says() -> None:
    names = [re.split(r"[<>=!~\\[; ]", entry)[0] for entry in line_packages(TOP / "pyproject.toml")]
    assert sorted(names) == sorted(
        ["numpy", "pillow", "onnxruntime", "fastapi", "uvicorn", "python-multipart", "prometheus-client"]
    )


def test_a_bundle_is_not_made_of_a_wrong_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match="no inspector that qc-lightning exported"):
        make_bundle(tmp_path / "x.onnx", tmp_path / "bundle", TOP)


@pytest.mark.lean
def test_the_bundle_works_where_there_is_nothing_but_python(tmp_path: Path) -> None:
    run = run_of(tmp_path, PAPER, DecodeSettings(16, 16))
    inspector = Inspector.load(run, "cpu")
    export_inspector(inspector, inspector.decision.to_dict(), gate_photos(run), tmp_path / "x.onnx")
    bundle = tmp_path / "bundle"
    make_bundle(tmp_path / "x.onnx", bundle, TOP)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    clean = {"PATH": f"{tmp_path / 'env' / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    lines = (bundle / "Containerfile").read_text(encoding="utf-8").splitlines()
    steps = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ")]
    assert len(steps) == 2
    for step in steps:
        subprocess.run(step, shell=True, cwd=bundle, env=clean, check=True)  # noqa: S602

    photos = [str(photo.path) for photo in gate_photos(run)]
    command = ["python", "-c", SCRIPT, json.dumps(NOT_ON_THE_LINE), *photos]
    out = json.loads(subprocess.run(command, cwd=bundle, env=clean, capture_output=True, check=True).stdout)
    for photo, before in zip(photos, inspector(photos), strict=True):
        verdict, probability = out["found"][photo]
        assert (verdict, probability) == (before.verdict, pytest.approx(before.probability, abs=1e-3))
    assert out["there"] == []
    assert {name for name in out["modules"] if not name.startswith("_")} <= MAY_BE_IMPORTED
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    size = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file())
    print(f"environment of the line: {size / 1e6:.0f} MB")
    assert size < 300e6

    # start.sh creates its own environment
    server = subprocess.Popen(
        [bundle / "start.sh", "port=0"], env=clean | {"PYTHON": sys.executable}, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    address = next(found[0] for line in server.stdout if (found := re.search(r"http://[\d.:]+/", line)))
    for _ in range(100):  # the address is printed a moment before it answers
        try:
            urllib.request.urlopen(f"{address}ready", timeout=30).close()
            break
        except urllib.error.URLError:
            time.sleep(0.3)
    request = urllib.request.Request(f"{address}v1/inspect", Path(photos[0]).read_bytes())
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["verdict"] == out["found"][photos[0]][0]
    server.send_signal(signal.SIGTERM)
    assert server.wait(10) == 0
    server.stdout.close()
