"""Compose settings from overrides; the only module that calls Hydra's compose."""

from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from qc_lightning.cli.commands import COMMANDS
from qc_lightning.config import TrainConfig, parse
from qc_lightning.config.literal import escaped
from qc_lightning.config.presets import CONF
from qc_lightning.config.settings import defaults_of


def register() -> None:
    """Register the settings with Hydra, under the first names in the defaults lists of `conf/`.

    Only names and defaults are registered: `config.build` checks types and ranges, and composing over
    structured configs takes twice as long.
    """
    for command in (entry for entry in COMMANDS.values() if not entry.plain):
        defaults = OmegaConf.create(defaults_of(command.schema))
        if command.schema is TrainConfig:  # any flag of lightning.Trainer; building the trainer checks them
            OmegaConf.set_struct(defaults.trainer, False)
        ConfigStore.instance().store(command.schema_name, defaults)


def compose(overrides: Sequence[str] = ()) -> TrainConfig:
    """The settings of a training, as `python -m qc_lightning.train <overrides>` has them.

    Args:
        overrides: as Hydra takes them: `key=value`, `group=option`.

    Raises:
        UserError: a value is out of its range.
        hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: there is no such setting, or the value
            is of another type; `qc_lightning.cli.errors.one_line` says it in one line.
    """
    return parse(composed("train", overrides), TrainConfig)


def composed(name: str, overrides: Sequence[str]) -> DictConfig:
    """The config of a command including Hydra's own part, which is set in `HydraConfig` as `hydra.main` does.

    `hydra.main` composes twice and makes the output folder before anybody has claimed it.
    """
    register()
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra.compose(name, [*overrides], return_hydra_config=True)
    finally:
        GlobalHydra.instance().clear()
    with read_write(cfg), open_dict(cfg):
        cfg.hydra.runtime.output_dir = escaped(str(Path(str(cfg.hydra.run.dir)).absolute()))
    HydraConfig.instance().set_config(cfg)
    return cfg


def setting_names(name: str) -> list[str]:
    """Every key of a command's default config, dotted."""
    cfg = composed(name, ())

    def walk(node: object, prefix: str) -> list[str]:
        children = node.items() if isinstance(node, dict) else ()
        below = [key for key, child in children for key in walk(child, f"{prefix}.{key}" if prefix else str(key))]
        return [prefix, *below] if prefix else below

    with open_dict(cfg):
        del cfg["hydra"]
    return walk(OmegaConf.to_container(cfg, resolve=False), "")
