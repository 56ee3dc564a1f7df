"""Run a command in a forked process: common imports are made once, and a kill ends only this process."""

import contextlib
import importlib
import io
import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Action = Callable[[], object]


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        code: exit code; negative: the signal that killed it.
        output: both of its streams.
        peak: peak memory in bytes, including memory shared with this process.
    """

    code: int
    output: str
    peak: int

    @property
    def refused(self) -> bool:
        """Whether it ended with the one line of a user error."""
        return self.code == 2 and sum(line.startswith("error: ") for line in self.output.splitlines()) == 1

    @property
    def broken(self) -> bool:
        """Whether it ended with a traceback, an undefined exit code, or a signal other than a kill."""
        known = self.code in (0, 1, 3, 130, -signal.SIGKILL) or self.refused
        return not known or "Traceback (most recent call last)" in self.output


def import_all() -> None:
    """Import what the commands import, once and without starting threads, which a fork would lose."""
    with contextlib.redirect_stdout(io.StringIO()):
        from qc_lightning.cli.light_imports import import_torchmetrics

        import_torchmetrics()
        import lightning.pytorch  # noqa: F401
        import scipy.stats  # noqa: F401

        import qc_lightning.report.page
        import qc_lightning.training.modes
        import qc_lightning.training.outcome  # noqa: F401


def and_list_imports(action: Action) -> None:
    """Run an action and print the modules that are then imported."""
    try:
        action()
    finally:
        print("\nMODULES " + json.dumps([name for name in sys.modules if name != "__main__"]))


def import_like(end: "End") -> None:
    """Import the modules that such an action has printed, in their order; its forks do not import them again."""
    (line,) = [line for line in end.output.splitlines() if line.startswith("MODULES ")]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        for name in json.loads(line.removeprefix("MODULES ")):
            with contextlib.suppress(Exception):  # made by another module, not from a file
                importlib.import_module(name)


def command(name: str, *arguments: str) -> Action:
    """The action of a command line of the package."""

    def act() -> None:
        sys.argv = [name, *arguments]
        importlib.import_module(f"qc_lightning.{name}").main()

    return act


def run(action: Action, folder: Path, before: Action = lambda: None, seconds: float = 120) -> End:
    """Run an action in its own process.

    Args:
        action: the action.
        folder: its working folder.
        before: called first, for example to set a file size limit.
        seconds: time limit; then it is killed, which counts as SIGALRM.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        for place in (1, 2):
            os.dup2(writing, place)
        sys.stdout = sys.stderr = os.fdopen(writing, "w", buffering=1)  # a test has replaced them
        os.chdir(folder)
        code = 1
        try:
            warnings.resetwarnings()
            before()
            action()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    os.close(writing)
    output, late = _read(reading, time.monotonic() + seconds)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    code = -signal.SIGALRM if late else os.waitstatus_to_exitcode(status)
    return End(code, output, usage.ru_maxrss * 1024)


def _read(pipe: int, until: float) -> tuple[str, bool]:
    """Everything read from a pipe, and whether it took too long."""
    parts = list[bytes]()
    with os.fdopen(pipe, "rb", buffering=0) as file:
        while select.select([file], [], [], max(0.0, until - time.monotonic()))[0]:
            if not (part := file.read(1 << 16)):
                return b"".join(parts).decode(errors="replace"), False
            parts.append(part)
    return b"".join(parts).decode(errors="replace"), True


def faults(end: End) -> str:
    """A broken end in words; empty if it did not break."""
    lines: Sequence[str] = end.output.strip().splitlines()[-1:]
    return f"exit {end.code}, {lines}" if end.broken else ""
