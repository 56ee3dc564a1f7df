"""Every command where files may not grow beyond some size, as on a disk that is full: `python full_disk.py [SIZES]`.

A process is forked for each try, so that what all commands import is imported once.
"""

import contextlib
import csv
import importlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

SMALL = ["data.count=40", "data.image_size=16", "model.hidden=[8]", "trainer=cpu", "trainer.enable_progress_bar=false"]
COMMANDS: dict[str, list[str]] = {
    "train": [*SMALL, "trainer.max_epochs=2", "hydra.run.dir=new"],
    "train -m": ["-m", *SMALL, "trainer.max_epochs=1", "optim.lr=0.1,0.01", "hydra.sweep.dir=sweep"],
    "evaluate": ["run=run", "subset=test", "name=again"],
    "predict": ["run=run", "source=in", "output=verdicts.csv", "sort=copy"],
    "explain": ["run=run", "source=in"],
    "robustness": ["run=run", "photos=2"],
    "latency": ["run=run", "seconds=0.01", "batch_sizes=[1]"],
    "decide": ["run=run", "rule=fixed", "threshold=0.4", "reason=tried"],
    "release": ["run=run", "name=press", "force=true"],
    "export": ["run=run", "output=out/inspector.onnx"],
    "audit": ["data=parts", "data.count=40", "data.image_size=16", "output=audit"],
    "gauge": ["source=study.csv", "output=gauge"],
}


def prepare(work: Path) -> None:
    """A run, photos and a study, of which each try gets a copy; the cache is shared and may grow."""
    train = [sys.executable, "-m", "qc_lightning.train", *SMALL, "trainer.max_epochs=1", "hydra.run.dir=run"]
    subprocess.run(train, cwd=work, check=True, capture_output=True)
    photos = sorted(Path(os.environ["QC_LIGHTNING_CACHE"]).glob("parts/*/Correct/*"))[:3]
    (work / "in").mkdir()
    for photo in photos:
        shutil.copy(photo, work / "in")
    rows = [f"{part},{who},{trial},{'PASS' if part % 2 else 'REJECT'},{'Correct' if part % 2 else 'Incorrect'}"
            for part in range(10) for who in "ab" for trial in (1, 2)]  # fmt: skip
    (work / "study.csv").write_text("\n".join(["part,appraiser,trial,verdict,reference", *rows]) + "\n")


def attempt(command: str, work: Path, size: int) -> tuple[int, str]:
    """Exit code and output of a command that may not write more than so many bytes to a file."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for place in (1, 2):
            os.dup2(writing, place)
        sys.stdout = sys.stderr = os.fdopen(writing, "w", buffering=1)  # a test has put its own in their place
        os.chdir(work)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        code = 1
        try:
            sys.argv = [command.split()[0], *COMMANDS[command]]
            warnings.resetwarnings()
            importlib.import_module(f"qc_lightning.{sys.argv[0]}").main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
        output = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output


def torn(work: Path) -> list[str]:
    """Files that are there in part, or that should not be."""
    faults = [str(path) for path in work.rglob(".unfinished-*")]
    for path in work.rglob("*.*"):
        if path.suffix == ".json":
            try:
                json.loads(path.read_text())
            except ValueError:
                faults.append(str(path))
        elif path.suffix == ".csv" and path.is_file():
            with path.open(newline="") as file:
                rows = list(csv.reader(file))
            # a prediction appends its rows, and cuts half a one off when it is resumed
            if len({len(row) for row in rows}) > 1 and path.name != "verdicts.csv":
                faults.append(str(path))
        elif path.suffix == ".html" and not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
            faults.append(str(path))
    return faults


def faults_of(command: str, template: Path, size: int) -> str:
    """What went wrong with a command and a size; empty when it ended well or in one line and nothing is torn."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        shutil.copytree(template, work)
        code, output = attempt(command, work, size)
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        if "Traceback" in output or code not in (0, 2, 3) or (code == 2 and len(errors) != 1):
            return f"{command} with {size:,} bytes: exit {code}, {output.strip().splitlines()[-1:]}"
        left = torn(work)
        return f"{command} with {size:,} bytes: torn {left}" if left else ""


def main() -> None:
    """Print a row for each command."""
    import_all()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    sizes = sorted({int(100 * 1.4**step) for step in range(count)})
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QC_LIGHTNING_CACHE"] = str(Path(folder) / "cache")
        template = Path(folder) / "template"
        template.mkdir()
        prepare(template)
        for command in COMMANDS if len(sys.argv) < 3 else sys.argv[2:]:
            faults = [fault for size in sizes if (fault := faults_of(command, template, size))]
            print(f"| {command} | {len(sizes)} | {len(faults)} with a traceback or a torn file |", *faults, sep="\n  ")
            sys.stdout.flush()


def import_all() -> None:
    """Load what the commands load, once."""
    with contextlib.redirect_stdout(io.StringIO()):
        from qc_lightning.cli.light_imports import import_torchmetrics

        import_torchmetrics()
        import lightning.pytorch  # noqa: F401
        import scipy.stats  # noqa: F401

        import qc_lightning.training.modes
        import qc_lightning.training.outcome  # noqa: F401


if __name__ == "__main__":
    main()
