"""Every setting: its type, its range and one line on what it does. The values live in `conf/`.

Hydra composes `conf/<command>.yaml` over these classes, so a wrong key or type is refused before anything starts;
`parse` then checks the ranges and hands plain dataclasses on. Nothing below a command sees a DictConfig.
"""

from typing import TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from qc_lightning.config.commands import (
    CacheConfig,
    EvaluateConfig,
    ExplainConfig,
    LabelledConfig,
    LatencyConfig,
    OtherNames,
    PredictConfig,
    RobustnessConfig,
    SweepReportConfig,
)
from qc_lightning.config.training import (
    AugmentConfig,
    ClassNames,
    DataConfig,
    DecisionConfig,
    LoggerConfig,
    ModelConfig,
    OptimConfig,
    SplitConfig,
    SweepConfig,
    TrainConfig,
)

__all__ = [
    "AugmentConfig",
    "CacheConfig",
    "ClassNames",
    "DataConfig",
    "DecisionConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "LabelledConfig",
    "LatencyConfig",
    "LoggerConfig",
    "ModelConfig",
    "OptimConfig",
    "OtherNames",
    "PredictConfig",
    "RobustnessConfig",
    "SplitConfig",
    "SweepConfig",
    "SweepReportConfig",
    "TrainConfig",
    "parse",
    "register",
]

T = TypeVar("T")


def register() -> None:
    """Make the schemas known to Hydra, under the names that the defaults lists in `conf/` start with."""
    ConfigStore.instance().store("train_schema", TrainConfig)
    ConfigStore.instance().store("sweep_report_schema", SweepReportConfig)
    ConfigStore.instance().store("predict_schema", PredictConfig)
    ConfigStore.instance().store("evaluate_schema", EvaluateConfig)
    ConfigStore.instance().store("explain_schema", ExplainConfig)
    ConfigStore.instance().store("robustness_schema", RobustnessConfig)
    ConfigStore.instance().store("latency_schema", LatencyConfig)
    ConfigStore.instance().store("cache_schema", CacheConfig)


def parse(cfg: DictConfig, schema: type[T]) -> T:
    """Turn what Hydra composed into plain dataclasses.

    Raises:
        UserError: a value is out of its range.
        omegaconf.OmegaConfBaseException: a value is missing or of the wrong type.
    """
    # through a container: merging the DictConfig itself would let keys added with `+key=` pass
    typed = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.to_container(cfg))
    return cast(T, OmegaConf.to_object(typed))
