"""Settings for tests: those of `conf/` with the test's overrides."""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from qc_lightning.config import AnyData, CostConfig, DecisionConfig, ModelConfig, OptimConfig, SplitConfig
from qc_lightning.config.build import build, typed
from qc_lightning.config.presets import CONF


@cache
def _of_file(name: str) -> Any:
    content = OmegaConf.load(CONF / f"{name}.yaml")
    files = [f"{Path(name).parent}/{parent}" for parent in content.pop("defaults", [])]
    below = [_of_file(file) for file in files if (CONF / f"{file}.yaml").is_file()]
    return OmegaConf.merge(*below, content)


def model_settings(*overrides: str) -> ModelConfig:
    """The model settings with these overrides, `model=...` first; several in one text are separated by spaces."""
    option, *others = [word.removeprefix("model.") for override in overrides for word in override.split()]
    merged = OmegaConf.merge(_of_file(option.replace("=", "/")), OmegaConf.from_dotlist(others))
    return build(ModelConfig, OmegaConf.to_container(merged), "model.")  # type: ignore[arg-type]


def split_settings(
    test: float = 0.3, val: float = 0.15, seed: int = 0, folds: int = 5, fold: int | None = None
) -> SplitConfig:
    return SplitConfig(test=test, val=val, seed=seed, folds=folds, fold=fold)


def data_settings(folder: Path, **changes: object) -> AnyData:
    """Data settings for photos in `folder`/photos, 16 x 16 pixels, without a cache on disk."""
    own = {"image_size": 16, "batch_size": 4, "resize": "squash", "cache": "ram", "cache_dir": str(folder / "cache")}
    base = OmegaConf.merge(_of_file("data/base"), {**own, "split": {"seed": 0}})
    values = {**OmegaConf.to_container(base), "source": "folder", "root": str(folder / "photos")}  # type: ignore[dict-item]
    plain = {key: value for key, value in changes.items() if isinstance(value, str | int | float | None)}
    config: Any = typed(AnyData, values | plain, "data")
    for key in changes.keys() - plain.keys():
        setattr(config, key, changes[key])
    return config


def decision_settings(rule: str = "fixed", threshold: float = 0.5, **changes: object) -> DecisionConfig:
    base: Any = OmegaConf.to_container(_of_file("train").decision)
    costs = changes.pop("costs", None)
    values = base | {"rule": rule, "threshold": threshold} | changes
    return build(DecisionConfig, values | {"costs": asdict(costs) if isinstance(costs, CostConfig) else base["costs"]})


def optim_settings(lr: float = 1e-3, patience: int | None = None) -> OptimConfig:
    return OptimConfig(lr=lr, weight_decay=0.0, patience=patience, name="adam")
