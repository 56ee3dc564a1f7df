"""A large log: `python benchmarks/log_size.py FOLDER [ROWS]`. Time to append rows and to verify all."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from qc_lightning.inference import log_file
from qc_lightning.inference.log_entry import Entry
from qc_lightning.inference.log_queries import open_reviews, rows_after
from qc_lightning.inference.verdict_log import VerdictLog

AT_ONCE, NEXT = 10_000, 500


def entry(number: int, model: str) -> Entry:
    """A typical row: 15 drift statistics, one part in 50 for a person."""
    at = np.datetime64("2026-01-01T00:00:00.000") + np.timedelta64(number * 300, "ms")
    verdict = "REVIEW" if number % 50 == 0 else "PASS"
    digest = f"{number * 2654435761 % 2**64:064x}"
    measures = " ".join(f"{(number * place) % 997 / 7:.6g}" for place in range(1, 16))
    return Entry(f"{at}+00:00", str(number), "top", digest, "0123456789ab", model, "d" * 64, 0.5,
                 number % 997 / 997, 0.1, 1.25, verdict, "", "", 21.25, measures)  # fmt: skip


def main() -> None:
    path, rows = Path(sys.argv[1]) / "large.sqlite", int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    log_file.prepare(path)
    model = log_file.register(path, "{}")
    connection = log_file.connect(path)
    begun = time.perf_counter()
    for first in range(1, rows + 1, AT_ONCE):
        log_file.append(connection, [entry(number, model) for number in range(first, min(first + AT_ONCE, rows + 1))])
    connection.close()
    spent = time.perf_counter() - begun
    print(f"{rows} rows in {spent:.0f} s, {AT_ONCE} a commit; {path.stat().st_size / 1e6:.0f} MB", flush=True)

    log, times = VerdictLog(path), []
    for number in range(rows + 1, rows + 1 + NEXT):
        begun = time.perf_counter()
        log.submit(entry(number, model)).result()
        times.append(1000 * (time.perf_counter() - begun))
    log.close()
    p50, p99 = np.percentile(times, (50, 99))
    print(
        f"the next {NEXT} rows, a commit each: p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {max(times):.1f} ms", flush=True
    )
    asks: dict[str, Callable[[], object]] = {
        "rows_after": partial(rows_after, path, rows, 50),
        "open_reviews": partial(open_reviews, path),
    }
    for name, ask in asks.items():
        begun = time.perf_counter()
        ask()
        print(f"{name}: {1000 * (time.perf_counter() - begun):.1f} ms")
    begun = time.perf_counter()
    count, _, fault = log_file.first_fault(path)
    print(f"verify: {count} rows in {time.perf_counter() - begun:.0f} s, {fault or 'all as they were written'}")


if __name__ == "__main__":
    main()
