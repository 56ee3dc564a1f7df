"""Kills before the n-th change of a file in every phase, each continued and compared with the uninterrupted run.

A kill that leaves on disk what an earlier one left is not continued: the outcome would be the same.
"""

import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import forked
from disk_state import VARIES, pruned, state
from forked import Action, command
from full_disk import SMALL, torn
from kill_at import kill_before

_BYTES = (".onnx", ".png", ".jpg", ".txt")
_NAMES = (".html", ".md", ".jsonl", ".sqlite", ".parquet")  # only their presence is compared


@dataclass(frozen=True)
class Phase:
    """A piece of work to kill.

    Attributes:
        name: name of the row in the table.
        begin: the work.
        again: continues it after a kill.
        made: globs below the work folder: folders and files that must equal those of uninterrupted work.
        anew: starts again if there is nothing to continue; None: there always is.
    """

    name: str
    begin: Action
    again: Action
    made: tuple[str, ...]
    anew: Action | None = None


def _digest(path: Path) -> object:
    """The relevant content of a file."""
    if path.suffix == ".json":
        content = pruned(json.loads(path.read_text(encoding="utf-8")))
        if isinstance(content, dict) and isinstance(content.get("decisions"), list):
            last = content["decisions"][-1]  # a decision killed after it was written is made twice
            content["decisions"] = {key: value for key, value in last.items() if key != "id"}
        return content
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return sorted(sorted((k, v) for k, v in row.items() if k not in VARIES) for row in csv.DictReader(file))
    if path.suffix == ".ckpt":
        import torch

        state = torch.load(path, weights_only=True)["state_dict"]
        return hashlib.sha256(b"".join(value.numpy().tobytes() for _, value in sorted(state.items()))).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix in _BYTES else None


def outcome(work: Path, made: tuple[str, ...]) -> dict[str, object]:
    """The content of the folder, by name."""
    files = {path for pattern in made for path in work.glob(pattern) if path.is_file()}
    known = (".json", ".csv", ".ckpt", *_BYTES, *_NAMES)
    return {str(path.relative_to(work)): _digest(path) for path in sorted(files) if path.suffix in known}


def _fresh(template: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(template, work)


def unbroken(phase: Phase, template: Path, work: Path, reading: bool) -> tuple[dict[str, object], int]:
    """The result of uninterrupted work, and its number of file changes.

    Raises:
        AssertionError: the work fails.
    """
    _fresh(template, work)
    count: list[Callable[[], int]] = []

    def act() -> None:
        try:
            phase.begin()
        finally:
            print(f"\nchanges {count[0]()}")

    end = forked.run(act, work, lambda: count.append(kill_before(0, reading)))
    assert end.code in (0, 1, 3), end.output
    return outcome(work, phase.made), int(end.output.rsplit("changes ", 1)[1])


def kill_and_continue(
    phase: Phase,
    template: Path,
    work: Path,
    number: int,
    reading: bool,
    expected: dict[str, object],
    continued: dict[str, str],
) -> str:
    """Kill the work before a change of a file and continue it: `equal`, `refused`, or the difference.

    `not killed` if it ended well before: the number of openings and changes may vary by a few.

    Args:
        phase: the work to kill.
        template: folder that is copied to the work folder.
        work: folder of the work.
        number: number of the change.
        reading: whether files opened for reading count too.
        expected: what uninterrupted work leaves.
        continued: outcomes by what a kill left on disk: a state that was continued before is not continued again.
    """
    _fresh(template, work)
    killed = forked.run(phase.begin, work, lambda: kill_before(number, reading))
    if killed.code == 0 and not forked.faults(killed):
        return "not killed"
    if killed.code != -9:
        return f"ended before the kill: {forked.faults(killed) or killed.code}"
    if (left := state(work) + state(Path(os.environ["QC_LIGHTNING_CACHE"]))) not in continued:
        continued[left] = continue_killed(phase, work, expected)
    return continued[left]


def continue_killed(phase: Phase, work: Path, expected: dict[str, object]) -> str:
    """Continue killed work: `equal`, `refused`, or the difference from uninterrupted work."""
    end = forked.run(phase.again, work)
    how = "refused" if end.refused else "equal"
    if end.refused and phase.anew is not None:
        end = forked.run(phase.anew, work)
    if end.broken or (end.refused and phase.anew is not None):
        return f"{forked.faults(end) or 'refused twice'}: {end.output.strip().splitlines()[-1:]}"
    found = outcome(work, phase.made)  # also of what refuses because everything is there
    if other := [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]:
        return f"differs in {sorted(other)[:4]}"
    left = torn(work)
    return f"torn or left: {left}" if left else how


def try_phase(phase: Phase, template: Path, scratch: Path, kills: int, share: tuple[int, int] = (1, 1)) -> str:
    """The row of the table; faults are printed.

    Whatever the work imports is imported here first, so that no try does it again.

    Args:
        phase: the work to kill.
        template: folder that is copied for each try.
        scratch: folder for the tries.
        kills: number of kills in all.
        share: i and n: of these only every n-th from the i-th on.
    """
    work = scratch / "work"
    _fresh(template, work)  # from then on the cache outside of the work folder is the same for all tries
    forked.import_like(forked.run(lambda: forked.and_list_imports(phase.begin), work))
    expected, changes = unbroken(phase, template, work, False)
    reading = changes < kills
    if reading:
        expected, changes = unbroken(phase, template, work, True)
    numbers = list(dict.fromkeys(1 + i * changes // kills for i in range(kills)))[share[0] - 1 :: share[1]]
    seen, continued = Counter[str](), dict[str, str]()
    for number in numbers:
        how = kill_and_continue(phase, template, work, number, reading, expected, continued)
        seen[how if how in ("equal", "refused", "not killed") else "other"] += 1
        if seen.total() % 5 == 0:
            print(f"{phase.name}: {dict(seen)}, {len(continued)} states", flush=True)
        if how not in ("equal", "refused"):
            print(f"{phase.name}, before change {number} of {changes}: {how}", flush=True)
    how = f"{seen['equal']} equal to the unbroken one, {seen['refused']} refused in one line, {seen['other']} other"
    how += f", {seen['not killed']} not killed" if seen["not killed"] else ""
    how += f"; they left {len(continued)} states of the disk"
    return f"| kills: {phase.name} | {len(numbers)} of {changes} {'openings and ' if reading else ''}changes | {how} |"


_FILES = ("*.csv", "*.json", "checkpoints/best.ckpt", "report.html")
_RUN, _AGAIN = tuple(f"new/{name}" for name in _FILES), tuple(f"run/{name}" for name in _FILES)


def _train(*arguments: str) -> tuple[Action, Action]:
    begin = command("train", *arguments, "hydra.run.dir=new")
    return begin, command("train", "resume=new")


def _anew(*arguments: str) -> Action:
    """Follow the advice of the refusal: remove the folder and train again."""

    def act() -> None:
        shutil.rmtree("new", ignore_errors=True)
        command("train", *arguments, *([] if "-m" in arguments else ["hydra.run.dir=new"]))()

    return act


def _decode() -> None:
    """Decode photos into the cache; the digest of the result is written last."""
    from qc_lightning.data.decoding.decode import DecodeSettings
    from qc_lightning.data.pixels.pixel_store import open_store

    paths = sorted(Path("many").iterdir())
    store = open_store(paths, DecodeSettings(16, 16), "disk", Path("cache/pixels"), progress=False)
    pixels = store.pixels(range(len(paths)))
    Path("pixels.txt").write_text(hashlib.sha256(pixels.tobytes()).hexdigest() + "".join(store.sha256))


def _features() -> None:
    """Compute features of photos into the cache; the digest is written as in `_decode`."""
    import numpy as np
    import torch

    from qc_lightning.cli.compose import compose
    from qc_lightning.data.dataset import read_photos
    from qc_lightning.models.registry import build_network
    from qc_lightning.training import features
    from qc_lightning.training.feature_cache import FeatureCache

    features._KEPT_AT_ONCE = 2
    config = compose(["experiment=recommended", "data.count=40", "data.image_size=32", "model.patches=false"])
    photos = read_photos(config.data, progress=False)
    torch.manual_seed(0)
    network = build_network(config.model, photos.decode.tile, load_weights=False).eval()
    every = np.arange(len(photos.photos))
    found = features.extract_features(network, photos, every, torch.device("cpu"), FeatureCache(Path("cache/features")))
    Path("features.txt").write_text(hashlib.sha256(found.numpy().tobytes()).hexdigest())


def phases() -> dict[str, Phase]:
    """Every phase by name."""
    small = [*SMALL, "trainer.max_epochs=4", "optim.lr=0.01", "report=false"]
    sweep = ["-m", *SMALL, "report=false", "optim.lr=0.1,0.01,0.001", "trainer.max_epochs=1", "hydra.sweep.dir=new"]
    recommended = ["experiment=recommended", "data.count=24", "data.image_size=32", "trainer=cpu", "report=false"]
    predict = ["run=run", "source=in", "resume=true"]
    continued = command("train", "resume=run", "trainer.max_epochs=4")
    table, parquet = [*predict, "output=verdicts.csv", "sort=copy"], [*predict, "output=verdicts.parquet"]
    parquet += ["overlays=true", "part=prefix"]
    listed = [
        Phase("training", *_train(*small), _RUN, _anew(*small)),
        Phase("training, recommended", *_train(*recommended), _RUN, _anew(*recommended)),
        Phase("resumed training", continued, continued, _AGAIN),
        Phase("decoding", _decode, _decode, ("pixels.txt", "cache/pixels/*")),
        Phase("features", _features, _features, ("features.txt",)),
        Phase(
            "sweep", command("train", *sweep), command("train", *sweep, "sweep.resume=new"),
            ("new/[0-9]/*.csv", "new/[0-9]/*.json", "new/[0-9]/checkpoints/best.ckpt", "new/*.csv", "new/sweep.json"),
            _anew(*sweep),
        ),
        Phase("prediction", command("predict", *table), command("predict", *table), ("verdicts*/**/*", "verdicts.csv")),
        Phase(
            "prediction, parquet", command("predict", *parquet), command("predict", *parquet),
            ("verdicts*/**/*", "verdicts*"),
        ),
    ]  # fmt: skip
    others = {
        "export": (["run=run", "output=out/inspector.onnx"], ("out/*",)),
        "log export": (["line.sqlite", "export", "rows.csv"], ("rows.csv",)),
        "log dataset": (["line.sqlite", "dataset", "labelled"], ("labelled/**/*",)),
        "evaluate": (["run=run", "subset=test", "name=again"], ("run/evaluations/**/*",)),
        "decide": (["run=run", "rule=fixed", "threshold=0.4", "reason=tried"], ("run/decision.json",)),
        "certify": (["run=run", "data.root=photos", "escape_rate=0.9", "confidence=0.6"], ("run/decision.json",)),
        "release": (["run=run", "name=press", "force=true"], ()),
        "explain": (["run=run", "source=in", "photos=3"], ("explanations/**/*",)),
        "audit": (["data=parts", "data.count=40", "data.image_size=16", "output=audit"], ("audit/*",)),
        "gauge": (["source=study.csv", "output=gauge"], ("gauge/*",)),
        "latency": (["run=run", "seconds=0.01", "batch_sizes=[1]"], ("run/metrics.json",)),
        "sweep_report": (["run=sweep"], ("sweep/*.csv", "sweep/*.json", "sweep/*.html")),
        "robustness": (["run=run", "photos=2"], ("run/*.json", "run/*.csv", "run/figures/*", "run/*.html")),
    }
    listed += [
        Phase(name, command(name.split()[0], *arguments), command(name.split()[0], *arguments), made)
        for name, (arguments, made) in others.items()
    ]
    return {phase.name: phase for phase in listed}


def prepare_many(template: Path) -> None:
    """Photos for the phases of decoding and of prediction."""
    from conftest import save_photo

    for seed in range(60):
        save_photo(template / "many" / f"{seed}.png", bright=seed % 2 == 0, seed=seed, size=24)
    for seed in range(15):
        save_photo(template / "in" / f"more_{seed}.png", bright=seed % 2 == 0, seed=seed, size=24)
    os.environ.setdefault("QC_LIGHTNING_CACHE", str(template.parent / "cache"))
