"""`make torture`: broken photos and files, kills, full disks, many photos and jobs, and a table of what became of them.

    python tests/torture.py                     everything, some three hours on two cores
    python tests/torture.py photos --count 5000 one part, and how often

Each part makes what it needs in a temporary folder. What goes wrong is printed before the table, and the files that did
it are kept in ./torture.
"""

import argparse
import itertools
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import bad_run_files
import forked
import full_disk
import kills
import many
from bad_files import KINDS, PLAIN, good_file, stream


@dataclass(frozen=True)
class Try:
    """The task of a part.

    Attributes:
        scratch: an empty folder.
        count: number of tries.
        seed: seed of the draws.
        only: phases or commands; all if empty.
        share: i and n: of the kills every n-th from the i-th on.
    """

    scratch: Path
    count: int
    seed: int
    only: list[str]
    share: tuple[int, int]


def broken_photos(task: Try) -> list[str]:
    """Broken photos: numbers refused, read, and with any other end."""
    from qc_lightning.data.checks.file_facts import read_file_facts
    from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode_bytes, decode_whole
    from qc_lightning.data.decoding.image_file import looks_like_image
    from qc_lightning.data.decoding.shape import common_shape
    from qc_lightning.data.decoding.wide import bit_depth_note

    warnings.simplefilter("ignore")
    ways = [DecodeSettings(64, 48), DecodeSettings(16, 16, "letterbox"), DecodeSettings(32, 32, "squash", 12)]
    outcomes, slowest, path = Counter[str](), 0.0, task.scratch / "photo"
    for number, (kind, how, data) in enumerate(itertools.islice(stream(task.seed, 64, 20), task.count)):
        begun = time.monotonic()
        try:
            if number % 10 == 9:  # all others that open photos
                path.write_bytes(data)
                read_file_facts([path])
                bit_depth_note([path], 16)
                looks_like_image(path)
                common_shape([path], 16, (1, 1))
                decode_whole(path, ways[0], 64)
            decode_bytes(data, ways[number % 3])
            outcomes["read"] += 1
            outcomes[f"{kind}, {how}"] += 1
        except BadImage as error:
            outcomes["refused"] += 1
            if "\n" in str(error):
                outcomes["other"] += 1
                print(f"seed {task.seed}, {number}, {kind}, {how}: several lines: {error}")
        except Exception as error:
            outcomes["other"] += 1
            bad_run_files.FOUND.mkdir(exist_ok=True)
            (bad_run_files.FOUND / f"photo-{task.seed}-{number}").write_bytes(data)
            print(f"seed {task.seed}, {number}, {kind}, {how}: {error!r}")
        slowest = max(slowest, time.monotonic() - begun)
    told = f"{outcomes['refused']:,} refused, {outcomes['read']:,} read, {outcomes['other']} else"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows = [
        f"| broken photos of {len(KINDS)} kinds | {task.count:,} | {told}; slowest {slowest:.2f} s, {peak:.2f} GB |"
    ]
    zeros = {kind: outcomes[f"{kind}, zero rest"] for kind in KINDS if outcomes[f"{kind}, zero rest"]}
    closed = sum(outcomes[f"{kind}, closed"] for kind in KINDS if kind.startswith("jpeg"))
    rows.append(f"| of these read: the rest zeros | {sum(zeros.values()):,} | {zeros} |")
    return [*rows, f"| of these read: JPEGs cut and closed | {closed:,} | |"]


def whole_photos(task: Try) -> list[str]:
    """Good photos of the kinds that every camera makes: number refused."""
    from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode_bytes

    rng, refused = np.random.default_rng(task.seed), 0
    for kind in itertools.islice(itertools.cycle(PLAIN), task.count):
        try:
            decode_bytes(good_file(rng, kind), DecodeSettings(64, 48))
        except BadImage as error:
            refused += 1
            print(f"{kind}: {error}")
    return [f"| whole photos of {len(PLAIN)} kinds | {task.count:,} | {refused} refused |"]


def broken_files(task: Try) -> list[str]:
    """Files of a run, a sweep and a release."""
    return bad_run_files.rows(bad_run_files.fuzz(task.scratch, task.seed, task.count))


def killed(task: Try) -> list[str]:
    """Kills of every phase, or of those named."""
    forked.import_all()
    template = task.scratch / "template"
    template.mkdir()
    full_disk.prepare(template)
    kills.prepare_many(template)
    known = kills.phases()
    rows = []
    for name in task.only or known:
        rows.append(kills.try_phase(known[name], template, task.scratch, task.count, task.share))
        print(rows[-1], flush=True)
    return rows


PARTS: dict[str, tuple[Callable[[Try], list[str]], int]] = {
    "photos": (broken_photos, 100_000),
    "whole": (whole_photos, 10_000),
    "files": (broken_files, 20_000),
    "kills": (killed, 200),
    "disk": (lambda task: full_disk.table(task.count, task.only, task.scratch), 30),
    "many": (lambda task: many.many_photos(task.scratch, task.count), 100_000),
    "jobs": (lambda task: [many.many_jobs(task.scratch, task.count)], 1000),
}
"""The parts, and the number of tries of each."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; all when none is named")
    parser.add_argument("--only", nargs="*", default=[], help="of the kills or of the commands on a full disk")
    parser.add_argument("--count", type=int, help="how often; each part has its own number")
    parser.add_argument(
        "--share", nargs=2, type=int, default=[1, 1], help="i n: of the kills every n-th from the i-th on"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    here = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(here, capture_output=True, text=True).stdout.strip()
    print(f"commit {commit}, seed {options.seed}", flush=True)
    table = list[str]()
    for part in options.parts or PARTS:
        count, begun = options.count or PARTS[part][1], time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            os.environ["QC_LIGHTNING_CACHE"] = str(scratch / "cache")
            table += PARTS[part][0](
                Try(scratch, count, options.seed, options.only, (options.share[0], options.share[1]))
            )
            os.chdir("/")
        print(f"{part}: {time.monotonic() - begun:.0f} s", flush=True)
    print("\n| tried | how often | outcome |\n|---|---|---|", *table, sep="\n")


if __name__ == "__main__":
    main()
