"""All settings: types, ranges and help texts. The values are in `conf/`.

Hydra composes `conf/<command>.yaml` over these classes, so a wrong key or type is refused before anything starts;
`parse` then checks the ranges and returns plain dataclasses. Only commands see a DictConfig.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from qc_lightning.config.audit import AuditConfig
from qc_lightning.config.augment import AugmentConfig
from qc_lightning.config.build import build
from qc_lightning.config.cluster import RayConfig
from qc_lightning.config.commands import (
    CacheConfig,
    EvaluateConfig,
    ExplainConfig,
    ExportConfig,
    LatencyConfig,
    OtherNames,
    OtherPhotosConfig,
    PredictConfig,
    RobustnessConfig,
    SweepReportConfig,
    VerifyConfig,
)
from qc_lightning.config.data import (
    AnyData,
    ClassNames,
    DataConfig,
    ElpvConfig,
    FolderConfig,
    PartsConfig,
    SplitConfig,
)
from qc_lightning.config.decisions import (
    CertifyConfig,
    CostConfig,
    DecideConfig,
    DecisionConfig,
    GaugeConfig,
    ReleaseConfig,
    ReleasesConfig,
)
from qc_lightning.config.model import ModelConfig
from qc_lightning.config.serving import DriftConfig, LogConfig, ServeConfig
from qc_lightning.config.training import LoggerConfig, OptimConfig, SweepConfig, TrainConfig

__all__ = [
    "AnyData",
    "AuditConfig",
    "AugmentConfig",
    "CacheConfig",
    "CertifyConfig",
    "ClassNames",
    "CostConfig",
    "DataConfig",
    "DecideConfig",
    "DecisionConfig",
    "DriftConfig",
    "ElpvConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "ExportConfig",
    "FolderConfig",
    "GaugeConfig",
    "LatencyConfig",
    "LogConfig",
    "LoggerConfig",
    "ModelConfig",
    "OptimConfig",
    "OtherNames",
    "OtherPhotosConfig",
    "PartsConfig",
    "PredictConfig",
    "RayConfig",
    "ReleaseConfig",
    "ReleasesConfig",
    "RobustnessConfig",
    "ServeConfig",
    "SplitConfig",
    "SweepConfig",
    "SweepReportConfig",
    "TrainConfig",
    "VerifyConfig",
    "parse",
]

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")


def parse(cfg: "DictConfig", schema: type[T]) -> T:
    """Turn a composed config into plain dataclasses, without Hydra's own part.

    Raises:
        UserError: a setting is unknown, missing, of the wrong type or out of range.
        omegaconf.OmegaConfBaseException: an interpolation cannot be resolved.
    """
    from omegaconf import OmegaConf

    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    return build(schema, cast(Mapping[str, object], plain))
