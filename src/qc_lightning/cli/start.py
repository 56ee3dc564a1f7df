"""A command with Hydra: compose its settings and call it."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from qc_lightning.cli.commands import COMMANDS
from qc_lightning.cli.compose import composed, register
from qc_lightning.cli.errors import one_line
from qc_lightning.cli.training import TrainingTask
from qc_lightning.config import parse
from qc_lightning.config.presets import CONF
from qc_lightning.core.errors import UserError
from qc_lightning.core.system import keep_freed_memory


def start(command: Callable[..., Any], name: str, arguments: Sequence[str]) -> None:
    """Compose the settings and call the command; arguments and errors as for `app.run_command`."""
    task = TrainingTask(command) if name == "train" else _Task(command, name)
    try:
        _start(task, name, list(arguments))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error, name)) from error


class _Task:
    """A command as Hydra calls it."""

    def __init__(self, command: Callable[..., Any], name: str) -> None:
        self.command, self.name = command, name

    def __call__(self, cfg: DictConfig) -> Any:
        keep_freed_memory()
        return self.command(parse(cfg, COMMANDS[self.name].schema))


def _start(task: Callable[[DictConfig], Any], name: str, arguments: list[str]) -> None:
    if any(argument.startswith("-") for argument in arguments):  # -m, --cfg, --help, ...
        # Hydra would print several lines and exit with 1; this makes it raise instead
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")
        if name != "train" and {"-m", "--multirun"} & set(arguments):
            raise UserError(f"{name} has no sweeps: leave out -m")
        register()
        sys.argv = [sys.argv[0], *arguments]
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(task)()
        return
    cfg = composed(name, arguments)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("hydra.mode: expected RUN, got MULTIRUN: use -m")
    if "sweep" in HydraConfig.get().runtime.choices and (preset := HydraConfig.get().runtime.choices["sweep"]):
        raise UserError(f"sweep={preset} makes many trainings: add -m; to train once, leave it out")
    with open_dict(cfg):
        del cfg["hydra"]
    task(cfg)
