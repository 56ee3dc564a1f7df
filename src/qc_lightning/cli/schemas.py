"""The schemas that Hydra composes each command's settings over."""

from hydra.core.config_store import ConfigStore

from qc_lightning.config import (
    CacheConfig,
    EvaluateConfig,
    ExplainConfig,
    LatencyConfig,
    PredictConfig,
    RobustnessConfig,
    SweepReportConfig,
    TrainConfig,
)


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
