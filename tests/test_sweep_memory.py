"""The memory of a sweep does not grow with its jobs."""

import gc
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from qc_lightning.sweep.job import tidied

MEASURED = """
import sys
from pathlib import Path
from qc_lightning.sweep.job import SweepJob
from qc_lightning.train import main
call = SweepJob.__call__
def measured(self, cfg):
    record = call(self, cfg)
    lines = Path("/proc/self/status").read_text().splitlines()
    print("kB " + next(line.split()[1] for line in lines if "RssAnon" in line))
    return record
SweepJob.__call__ = measured
main()
"""


class Settings:
    """An object in a reference cycle, like composed settings."""

    def __init__(self) -> None:
        self.root = self


def test_the_settings_of_jobs_that_are_over_are_freed() -> None:
    jobs = []
    gc.unfreeze()  # as in a separate process
    try:
        for _ in range(5):
            settings = Settings()
            jobs.append(weakref.ref(settings))
            with tidied():
                pass
        alive = [job() is not None for job in jobs]
    finally:
        gc.unfreeze()
    assert alive == [True, False, False, False, True], "the first one's are kept with the imports"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_twelve_jobs_take_no_more_memory_than_three(tmp_path: Path) -> None:
    small = ["data.count=24", "data.image_size=16", "model.hidden=[4]", "trainer=cpu", "trainer.max_epochs=1"]
    rates = ",".join(f"{0.001 * number:.3f}" for number in range(1, 13))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "-m", *small, f"optim.lr={rates}"],
        cwd=tmp_path, env={**os.environ, "QC_LIGHTNING_CACHE": str(tmp_path / "cache")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    size = [int(number) for number in re.findall(r"kB (\d+)", done.stdout)]
    assert len(size) == 12
    assert (size[-1] - size[3]) / 8 < 100, "kB a job; one that keeps its settings grows by 1,100"
