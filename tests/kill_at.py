"""A kill before the n-th change of a file: deterministic and without waiting."""

import os
import signal
import sys
from collections.abc import Callable

CHANGES = frozenset(
    ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink", "os.utime")
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CODE = (".py", ".pyc", ".so")


def kill_before(number: int, reading: bool = False) -> Callable[[], int]:
    """Kill this process before the change of a file with that number; 0: never.

    An audit hook counts Python's calls of the system.

    Args:
        number: number of the change, from 1.
        reading: whether files opened for reading count too.

    Returns:
        A function that returns the number of changes so far.
    """
    seen = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            name, mode, flags = str(arguments[0]), arguments[1], arguments[2]
            changes = bool(set(str(mode or "")) & set("wax+")) or (mode is None and bool(int(str(flags)) & WRITING))
            changes = (
                (changes or reading) and not name.startswith(("/dev", "/proc", "/sys")) and not name.endswith(CODE)
            )
        else:
            changes = event in CHANGES
        if changes:
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: seen[0]
