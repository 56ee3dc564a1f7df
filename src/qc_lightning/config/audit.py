"""The settings of the audit."""

from dataclasses import dataclass

from qc_lightning.config.checks import check
from qc_lightning.config.data import AnyData
from qc_lightning.config.model import ModelConfig


@dataclass(kw_only=True)
class AuditConfig:
    """`qc-lightning audit`."""

    data: AnyData
    model: ModelConfig  # network whose head gives out-of-fold probabilities
    quick: bool  # skip the checks that need the network
    output: str | None  # folder of the findings; null: outputs/audits/<date>/<time>
    seed: int  # of the folds of the out-of-fold probabilities

    def __post_init__(self) -> None:
        check(self.model.frozen, "model.mode", "frozen in an audit", self.model.mode)
        check(self.model.hidden == [], "model.hidden", "[] in an audit", self.model.hidden)
