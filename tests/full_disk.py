"""Every command with a limit on file sizes, as on a full disk."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import forked

SMALL = ["data.count=40", "data.image_size=16", "model.hidden=[8]", "trainer=cpu", "trainer.enable_progress_bar=false"]
COMMANDS: dict[str, list[str]] = {
    "train": [*SMALL, "trainer.max_epochs=2", "hydra.run.dir=new"],
    "train -m": ["-m", *SMALL, "trainer.max_epochs=1", "optim.lr=0.1,0.01", "hydra.sweep.dir=new"],
    "train recommended": [
        *("experiment=recommended", "data.count=24", "data.image_size=32"),
        *SMALL[3:],
        "hydra.run.dir=new",
    ],
    "train resume": ["resume=run", "trainer.max_epochs=2"],
    "evaluate": ["run=run", "subset=test", "name=again"],
    "predict": ["run=run", "source=in", "output=verdicts.csv", "sort=copy"],
    "predict parquet": ["run=run", "source=in", "output=verdicts.parquet", "overlays=true", "part=prefix"],
    "predict xlsx": ["run=run", "source=in", "output=verdicts.xlsx"],
    "explain": ["run=run", "source=in"],
    "robustness": ["run=run", "photos=2"],
    "latency": ["run=run", "seconds=0.01", "batch_sizes=[1]"],
    "certify": ["run=run", "data.root=photos", "escape_rate=0.9", "confidence=0.6"],
    "decide": ["run=run", "rule=fixed", "threshold=0.4", "reason=tried"],
    "release": ["run=run", "name=press", "force=true"],
    "export": ["run=run", "output=out/inspector.onnx"],
    "audit": ["data=parts", "data.count=40", "data.image_size=16", "output=audit"],
    "gauge": ["source=study.csv", "output=gauge"],
    "sweep_report": ["run=sweep"],
    "log export": ["line.sqlite", "export", "rows.csv"],
    "log export xlsx": ["line.sqlite", "export", "rows.xlsx"],
    "log dataset": ["line.sqlite", "dataset", "labelled"],
}


def prepare(work: Path) -> None:
    """A run, a sweep, photos, a log and a study; each try gets a copy, the cache is shared and may grow."""
    train = [sys.executable, "-m", "qc_lightning.train", *SMALL, "trainer.max_epochs=1"]
    subprocess.run([*train, "hydra.run.dir=run"], cwd=work, check=True, capture_output=True)
    sweep = [*train, "-m", "optim.lr=0.1,0.01", "hydra.sweep.dir=sweep", "report=false"]
    subprocess.run(sweep, cwd=work, check=True, capture_output=True)
    photos = sorted(Path(os.environ["QC_LIGHTNING_CACHE"]).glob("parts/*/Correct/*"))[:3]
    (work / "in").mkdir()
    for photo in photos:
        shutil.copy(photo, work / "in")
    unseen(work / "photos")
    line_log(work / "line.sqlite", photos)
    words = ("REJECT", "PASS")
    rows = [f"{part},{who},{trial},{words[part % 2]},{words[part % 2]}"
            for part in range(10) for who in "ab" for trial in (1, 2)]  # fmt: skip
    (work / "study.csv").write_text("\n".join(["part,appraiser,trial,verdict,reference", *rows]) + "\n")


def unseen(root: Path) -> None:
    """Six photos per class that no run has seen."""
    from conftest import save_photo

    for seed in range(12):
        save_photo(root / ("Correct", "Incorrect")[seed % 2] / f"{seed}.png", bright=seed % 2 == 1, seed=900 + seed)


def line_log(path: Path, photos: list[Path]) -> None:
    """The log of a service that kept these photos, each overridden."""
    from test_log_dataset import line

    made = line(path.parent, photos, dict.fromkeys(range(len(photos)), "REJECT"))
    assert made == path, made


def limit_files(size: int) -> None:
    """Limit the bytes of a file for this process, so that it meets what looks like a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def attempt(name: str, work: Path, size: int) -> forked.End:
    """The result of a command with a limit of bytes per file."""
    return forked.run(forked.command(name.split()[0], *COMMANDS[name]), work, lambda: limit_files(size))


def torn(work: Path) -> list[str]:
    """Incomplete files, and files that should not exist."""
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
            # a prediction appends its rows, and cuts off a torn row when it is resumed
            if len({len(row) for row in rows}) > 1 and path.name != "verdicts.csv":
                faults.append(str(path))
        elif path.suffix == ".html" and not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
            faults.append(str(path))
    return faults


def faults_of(name: str, template: Path, size: int) -> str:
    """The fault of a command at a size; empty if it ended well or with one line, and no file is torn."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        shutil.copytree(template, work)
        end = attempt(name, work, size)
        if fault := forked.faults(end):
            return f"{name} with {size:,} bytes: {fault}"
        left = torn(work)
        return f"{name} with {size:,} bytes: torn {left}" if left else ""


def table(count: int, names: list[str], scratch: Path) -> list[str]:
    """A table row for each command, tried at a number of sizes from 100 bytes on."""
    sizes = sorted({int(100 * 1.4**step) for step in range(count)})
    template = scratch / "template"
    template.mkdir()
    prepare(template)
    forked.import_all()
    rows = []
    for name in names or COMMANDS:
        faults = [fault for size in sizes if (fault := faults_of(name, template, size))]
        print(*faults, sep="\n", end="\n" if faults else "", flush=True)
        rows.append(f"| full disk: {name} | {len(sizes)} sizes | {len(faults)} with a traceback or a torn file |")
        print(rows[-1], flush=True)
    return rows
