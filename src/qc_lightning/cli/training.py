"""Start one training in a new run's folder, or in the folder of the run to resume."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from qc_lightning.cli.light_imports import import_torchmetrics
from qc_lightning.config import FolderConfig, TrainConfig, parse
from qc_lightning.config.build import build
from qc_lightning.config.effect import without_effect
from qc_lightning.config.literal import quoted
from qc_lightning.config.presets import CONF
from qc_lightning.config.record import RunRecord
from qc_lightning.core.claim import claimed
from qc_lightning.core.errors import UserError
from qc_lightning.core.lock import held
from qc_lightning.core.room import check_room
from qc_lightning.core.run import Run
from qc_lightning.core.system import keep_freed_memory, process_number


class TrainingTask:
    """`train` as Hydra calls it, for a single training and for each job of a sweep."""

    def __init__(self, train: Callable[..., Run]) -> None:
        self._train = train

    def train(self, *settings: Any, **more: Any) -> Run:
        """Train, after all checks that do not need torch."""
        import_torchmetrics()
        return self._train(*settings, **more)

    def __call__(self, cfg: DictConfig) -> Run:
        """Claim or open the run's folder and train in it."""
        keep_freed_memory()
        hydra = HydraConfig.get()
        overrides = [str(override) for override in hydra.overrides.task]
        in_sweep = hydra.mode == RunMode.MULTIRUN
        if cfg.resume is not None:
            if in_sweep:
                raise UserError("resume continues one run; leave out -m")
            return self._resume(cfg, overrides)
        config = parse(cfg, TrainConfig)
        named = in_sweep or any(str(override).startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
        folder = Path(hydra.runtime.output_dir)
        if process_number():  # another process of the same training: the first one has claimed the folder
            return self.train(config, Run(folder), in_sweep=in_sweep)
        words = overrides if in_sweep else sys.argv[1:]
        program = ["qc-lightning"] if words[:1] == ["train"] else ["python", "-m", "qc_lightning.train"]
        record = RunRecord.from_config(config, shlex.join([*program, *words]), overrides)
        if not in_sweep:
            keys = [override.partition("=")[0].lstrip("+") for override in overrides]
            for key, why in without_effect(config, keys).items():
                print(f"NOTE: {key} does nothing here: {why}")
        with claimed(folder, record.to_yaml(), named) as run:
            if in_sweep:
                return self.train(config, run, in_sweep=True)
            _tell_further_processes("hydra.run.dir", run)
            self.train(config, run)
        print(what_next(run, config))
        return run

    def _resume(self, cfg: DictConfig, overrides: Sequence[str]) -> Run:
        run = Run.open(str(cfg.resume), "resume")
        stored = RunRecord.read(run)
        given = [override for override in overrides if not override.startswith("resume=")]
        config = resumed(OmegaConf.to_container(cfg, resolve=True), stored, given, str(run.folder))
        if process_number():
            return self.train(config, run)
        check_room(run.folder)
        with held(run.folder):
            _tell_further_processes("resume", run)
            record = replace(stored, overrides=[*stored.overrides, *given], settings=asdict(config))
            self.train(config, run, record)
        print(what_next(run, config))
        return run


def resumed(now: Any, stored: RunRecord, overrides: Sequence[str], where: str) -> TrainConfig:
    """The settings of a resumed training: the recorded ones, overridden by the command line.

    Args:
        now: settings from the command line alone, as plain data.
        stored: the run's record.
        overrides: of the command line.
        where: the run's folder.

    Raises:
        UserError: the record is of another release, or an override chooses a recipe.
    """
    settings = asdict(stored.training)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if key in ("experiment", "sweep") or override.is_delete():
            raise UserError(f"resume: a run is continued with its own recipe, leave out {override.input_line}")
        *above, last = key.split(".")
        source: Any = now
        target: Any = settings
        for name in above:
            source, target = source[name], target[name]
        if key == "trainer":  # other devices, not another training: flags that the option does not name are kept
            option = OmegaConf.load(CONF / "trainer" / f"{override.value()}.yaml")
            target[last] |= {str(flag): source[last][str(flag)] for flag in option}
        else:
            target[last] = source[last]
    return build(TrainConfig, {**settings, "resume": where})


def what_next(run: Run, config: TrainConfig) -> str:
    """The command that opens the report, and the one to try next."""
    from qc_lightning.metrics.go_live import doubt_of

    folder = run.folder.absolute()
    target = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    lines = []
    if (run.folder / "report.html").is_file():
        opener = {"darwin": "open", "win32": "start"}.get(sys.platform, "xdg-open")
        lines.append(f"look:  {opener} {shlex.quote(str(target / 'report.html'))}")
    data = config.data
    if not isinstance(data, FolderConfig):
        step = "qc-lightning train photos/"
    elif not config.model.pretrained:
        step = f"qc-lightning train {shlex.quote(str(data.root or data.manifest))}"
    elif doubt_of(run):
        step = f"qc-lightning audit {shlex.quote(str(data.root or data.manifest))}"
    else:
        step = f"qc-lightning predict incoming/ run={shlex.quote(str(target))}"
    return "\n".join([*lines, f"next:  {step}"])


def _tell_further_processes(key: str, run: Run) -> None:
    """Send the processes that trainer=ddp starts, which get this command line, to the same folder."""
    sys.argv = [*sys.argv, f"{key}={quoted(str(run.folder.absolute()))}"]
    HydraConfig.instance().cfg = None  # else Lightning would add a folder of its own making
