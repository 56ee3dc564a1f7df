"""Run a command and kill it before its n-th change of a file: `python kill_at.py N MODULE ARGUMENTS...`.

Deterministic and without waiting: an audit hook counts what Python asks the system for. With N = 0 nothing is killed,
and the number of changes is printed last.
"""

import os
import runpy
import signal
import sys

CHANGES = frozenset(
    ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink", "os.utime")
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Count, and kill."""
    last, module, seen = int(sys.argv[1]), sys.argv[2], [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            mode, flags = arguments[1], arguments[2]
            changes = bool(set(str(mode or "")) & set("wax+")) or (mode is None and bool(int(str(flags)) & WRITING))
            changes = changes and not str(arguments[0]).startswith(("/dev", "/proc"))
        else:
            changes = event in CHANGES
        if changes:
            seen[0] += 1
            if seen[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.argv = [module, *sys.argv[3:]]
    sys.addaudithook(hook)
    try:
        runpy.run_module(module, run_name="__main__")
    finally:
        if not last:
            print(seen[0])


if __name__ == "__main__":
    main()
