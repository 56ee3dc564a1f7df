"""Threads that each compute alone leave the rest of the process its cores."""

import subprocess
import sys

import pytest
import torch

from qc_lightning.models.photo_threads import photo_threads

AFTERWARDS = """
from concurrent.futures import ThreadPoolExecutor
import torch
from qc_lightning.models.photo_threads import photo_threads
with photo_threads(torch.device("cpu")) as pool:
    print(set(pool.map(lambda _: torch.get_num_threads(), range(8))))
print(torch.get_num_threads(), ThreadPoolExecutor().submit(torch.get_num_threads).result())
"""


def _said(code: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_threads_that_compute_later_have_all_cores() -> None:
    """The main thread too, which has not computed before."""
    assert _said(AFTERWARDS) == ["{1}", *_said("import torch; print(torch.get_num_threads())") * 2]


def test_the_number_comes_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), photo_threads(torch.device("cpu")) as pool:
        list(pool.map(lambda number: 1 / number, range(3)))
    assert torch.get_num_threads() == before
