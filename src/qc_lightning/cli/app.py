"""What every command does before its own work: find `conf/`, compose the config, turn mistakes into one line."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qc_lightning.cli.schemas import register
from qc_lightning.config.presets import CONF
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run, discard_unstarted
from qc_lightning.core.suggestions import nearest
from qc_lightning.core.system import keep_freed_memory


def run(command: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run `command` on the config composed from `conf/<config_name>.yaml` and the command line.

    A mistake of the user's ends in one line on standard error and exit code 2, Ctrl-C in one and 130 unless the command
    has work of its own to save; anything else is a bug and keeps its traceback.
    """
    # Hydra would print its own multi-line account and exit with 1; this makes it raise instead
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register()

    def task(cfg: DictConfig) -> Any:
        keep_freed_memory()
        try:
            _refuse_lone_sweep()
            return command(cfg)
        except (UserError, OmegaConfBaseException, KeyboardInterrupt) as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # for the record of the job; the others go on
            if HydraConfig.get().output_subdir is not None:  # else the folder is the user's own, not made for this call
                discard_unstarted(Path(HydraConfig.get().runtime.output_dir))
            if isinstance(error, KeyboardInterrupt):
                raise
            fail(one_line(error))

    if config_name == "train":
        sys.argv = [sys.argv[0], *_resumed(sys.argv[1:])]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        fail(one_line(error, config_name))
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(130) from None


def from_hydra() -> tuple[Run, bool]:
    """The folder that Hydra gave this job, not claimed yet, and whether it is a job of a sweep."""
    config = HydraConfig.get()
    return Run(Path(config.runtime.output_dir)), config.mode == RunMode.MULTIRUN


def fail(message: str) -> NoReturn:
    """Print the one line and exit with code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def _refuse_lone_sweep() -> None:
    hydra_config = HydraConfig.get()
    chosen = hydra_config.runtime.choices.get("sweep")
    if chosen is not None and hydra_config.mode == RunMode.RUN:
        raise UserError(f"sweep={chosen} makes many trainings: add -m; to train once, leave it out")


def _resumed(arguments: list[str]) -> list[str]:
    """Put what the run to resume was called with before what it is called with now, and send it to its folder."""
    resume = next((argument.removeprefix("resume=") for argument in arguments if argument.startswith("resume=")), "")
    resume = resume.strip("'")  # quoted by ourselves when this is a further process of a resumed run
    if resume in ("", "null"):
        return arguments
    if {"-m", "--multirun"} & set(arguments):
        fail("resume goes on with one run; leave out -m")
    try:
        folder = Run.open(resume).folder
        stored = OmegaConf.load(folder / ".hydra" / "overrides.yaml")
    except (UserError, OSError) as error:
        fail(f"resume: {error}")
    now = [argument for argument in arguments if not argument.startswith("resume=")]
    return [*map(str, stored), *now, f"resume='{folder}'", f"hydra.run.dir='{folder}'"]


def one_line(error: BaseException, config_name: str | None = None) -> str:
    """An error as one line; a mistake of the user's in words of this project."""
    text = str(error)
    if not isinstance(error, UserError | HydraException | OmegaConfBaseException):
        return " ".join(f"{type(error).__name__}: {text}".split())
    if isinstance(error, UserError):
        return text
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    unknown_key = re.search(r"Could not (?:override|append to config\.?) '([^']+)'", text)
    if unknown_key and "not in" in f"{text} {cause}":
        key = unknown_key[1].lstrip("+")
        return f"there is no setting '{key}'{nearest(key, _settings(config_name))}; --help lists them all"
    option = re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", text)
    if option and option[1] == "hydra/launcher" and (extra := option[2].split("_")[0]) in ("joblib", "submitit", "ray"):
        return f'hydra/launcher={option[2]} needs a package that is not installed: pip install "qc-lightning[{extra}]"'
    if option:
        choices = sorted(path.stem for path in (CONF / option[1]).glob("*.yaml") if path.stem != "base")
        if choices:
            return f"{option[1]}: expected one of {', '.join(choices)}, got '{option[2]}'{nearest(option[2], choices)}"
    group = re.search(r"Could not override '([^']+)'\. No match", text)
    if group:
        return f"there is no group '{group[1]}'{nearest(group[1], _settings(config_name))}; --help lists them all"
    key_of = getattr(cause, "full_key", None)
    lines = [line.strip() for line in str(getattr(cause, "msg", None) or cause).splitlines()]
    message = ", ".join(lines[:2] if "parsing override" in lines[0] else lines[:1])
    return f"{key_of}: {message}" if key_of else message


def _settings(config_name: str | None) -> list[str]:
    """Every key of the default config, dotted; only needed to suggest the nearest one."""
    if config_name is None:
        return []
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose(config_name)

    def walk(node: Any, prefix: str) -> list[str]:
        children = node.items() if isinstance(node, dict) else ()
        below = [key for name, child in children for key in walk(child, f"{prefix}.{name}" if prefix else str(name))]
        return [prefix, *below] if prefix else below

    return walk(OmegaConf.to_container(cfg, resolve=False), "")
