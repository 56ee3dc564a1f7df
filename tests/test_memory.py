"""Freed memory stays with the process."""

import ctypes
import platform
import subprocess
import sys

import pytest

from qc_lightning.core import system as memory

PROGRAM = """
import resource, sys
import numpy as np
from qc_lightning.core.system import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for number in range(60):
    if number == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers = [np.ones(1 << 22, np.float32) for layer in range(4)]
    del layers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_memory_that_was_freed_is_not_cleared_page_by_page_again() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") < 100, "fifty rounds of 64 MB are 800,000 pages of 4 kB"
    assert faults("as it is") > 1000


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(_: object) -> object:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", without)
    memory.keep_freed_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    memory.keep_freed_memory()
