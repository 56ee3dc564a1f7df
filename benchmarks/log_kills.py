"""Kill the log's writer at random moments: `python benchmarks/log_kills.py FOLDER [KILLS]`.

In each round a process appends rows from four threads and prints the acknowledged ones; after a random time it is
killed (SIGKILL). Then every acknowledged row must exist unchanged, and the chain must be intact.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from qc_lightning.inference.log_file import first_fault, query

WRITER = """
import sys, threading
from pathlib import Path
from qc_lightning.inference.log_entry import Entry
from qc_lightning.inference.verdict_log import VerdictLog
log = VerdictLog(Path(sys.argv[1]))
def write(name):
    for count in range(10**6):
        part = f"{sys.argv[2]}-{name}-{count}"
        numbers = (0.5, 0.1, 0.2, None)
        entry = Entry("2026-01-01T00:00:00.000+00:00", part, "", "ab" * 32, "m", "", "", *numbers, "PASS", "", "", 1.0)
        number = log.submit(entry).result()
        sys.stdout.write(f"{number} {part}\\n")
        sys.stdout.flush()
threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
[thread.start() for thread in threads]
"""


def main() -> None:
    path, kills = Path(sys.argv[1]) / "kills.sqlite", int(sys.argv[2]) if len(sys.argv) > 2 else 200
    draw, acknowledged = random.Random(0), {}
    for kill in range(kills):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(kill)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline() if kill % 2 else time.sleep(draw.uniform(0, 0.3))  # some during the start
            time.sleep(draw.uniform(0, 0.05))
            os.kill(writer.pid, signal.SIGKILL)
            for line in writer.stdout.read().decode().splitlines():
                if len(words := line.split()) == 2 and line.count("-") == 2:
                    acknowledged[int(words[0])] = words[1]
    rows = {number: entry.part for number, entry, _ in query(path)}
    # the last line of a killed writer may be torn
    lost = sum(not rows.get(number, "").startswith(part) for number, part in acknowledged.items())
    count, _, fault = first_fault(path)
    found = f"{len(acknowledged)} rows acknowledged, {count} in the log, {lost} lost"
    print(f"{kills} kills: {found}; {fault or 'chain whole'}")


if __name__ == "__main__":
    main()
