"""One prediction as several processes of this machine, each with a share of the photos: trainer=ddp."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

from qc_lightning.core.shutdown import graceful_shutdown


def in_processes(count: int, check: Callable[[int], object]) -> int:
    """Start this very command once for each share and wait; a child knows its share as it would from torchrun.

    Args:
        count: of processes.
        check: finds mistakes in the share of a number, from 1, before anything starts.

    Returns:
        Exit code: the greatest of the children's, 1 when one of them died.
    """
    for number in range(1, count + 1):
        check(number)
    command = [sys.executable, "-m", "qc_lightning.predict", *sys.argv[1:]]
    with graceful_shutdown() as stop:
        children = []
        for rank in range(count):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
            # a session of its own: Ctrl-C reaches the child once, from here, not also from the terminal
            children.append(subprocess.Popen(command, env=os.environ | place, start_new_session=True))
        told = False
        while any(child.poll() is None for child in children):
            if stop.signal and not told:
                told = True
                for child in children:
                    child.send_signal(stop.signal)
            time.sleep(0.05)
    died = [f"{number} of {count}" for number, child in enumerate(children, 1) if child.returncode < 0]
    if died:
        print(f"the process of share {', '.join(died)} died; resume=true goes on", file=sys.stderr)
    return max(0, *(child.returncode for child in children)) or int(bool(died))
