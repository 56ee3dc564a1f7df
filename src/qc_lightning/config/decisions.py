"""The settings of the commands that decide what the line does."""

from dataclasses import dataclass

from qc_lightning.config.checks import check, check_device
from qc_lightning.config.commands import OtherPhotosConfig
from qc_lightning.config.training import CostConfig, DecisionConfig
from qc_lightning.core.errors import UserError


@dataclass
class CertifyConfig:
    """`qc-lightning certify`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    data: OtherPhotosConfig  # qualification photos, with labels, that the run has never seen
    escape_rate: float  # the largest share of Incorrect parts that may pass
    overkill_rate: float | None  # the largest share of Correct parts that may be rejected; null: not certified
    confidence: float  # of the statement, from 0 to 1
    together: bool  # both rates at once at this confidence, not each for itself
    by: str | None  # who certifies; null: the account
    reason: str | None  # why, on record with it
    device: str  # auto | cpu | cuda | cuda:<n>

    def __post_init__(self) -> None:
        for name in ("escape_rate", "overkill_rate", "confidence"):
            share = getattr(self, name)
            check(share is None or 0 < share < 1, name, "a share between 0 and 1", share)
        check_device(self.device)
        if self.data.root is None and self.data.manifest is None:
            raise UserError("data.root: expected the qualification photos: give data.root=qualification/")


@dataclass
class DecideConfig:
    """`qc-lightning decide`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    rule: str  # fixed | balanced | f1 | cost | escape; all but fixed look at the run's validation photos
    threshold: float | None  # of rule=fixed
    review: list[float] | None  # [low, high] of rule=fixed: a person looks at parts between
    escape_rate: float | None  # of rule=escape: the largest share of Incorrect parts that may pass
    overkill_rate: float | None  # the largest share of Correct parts that may be rejected
    costs: CostConfig
    bad_share: float | None  # of rule=cost: the share of Incorrect parts on the line
    reason: str | None  # why, on record with it
    by: str | None  # who decides; null: the account
    device: str  # auto | cpu | cuda | cuda:<n>

    def __post_init__(self) -> None:
        check_device(self.device)
        if not (self.reason or "").strip():
            raise UserError('reason: expected why, which goes on record: give reason="..."')
        fine = (self.rule == "fixed") == (self.threshold is not None)
        check(fine, "threshold", "a probability with rule=fixed, and none with another rule", self.threshold)
        fine = self.review is None or (self.rule == "fixed" and len(self.review) == 2)
        check(fine, "review", "two thresholds [low, high] with rule=fixed", self.review)

    @property
    def decision(self) -> DecisionConfig:
        """As the training has it."""
        threshold = 0.5 if self.threshold is None else self.threshold
        return DecisionConfig(self.rule, threshold, self.escape_rate, self.overkill_rate, self.costs, self.bad_share)


@dataclass
class ReleaseConfig:
    """`qc-lightning release`."""

    run: str | None  # a run folder, or latest
    name: str | None  # of the release, such as line-3
    decision: int | None  # number in its decision.json; null: the newest
    reason: str | None  # why, on record with it
    by: str | None  # who releases it; null: the account
    force: bool  # although its own figures say that it tells nothing apart

    def __post_init__(self) -> None:
        if self.run is None or self.name is None:
            raise UserError("expected a run and a name: give run=<folder> name=line-3")


@dataclass
class ReleasesConfig:
    """`qc-lightning releases`."""


@dataclass
class GaugeConfig:
    """`qc-lightning gauge`."""

    source: str | None  # a .csv with the columns part, appraiser, trial, verdict and, if known, reference
    output: str  # a folder for gauge.json and gauge.html
    effectiveness: list[float]  # at least the first is acceptable, below the second is not
    miss_rate: list[float]  # at most the first is acceptable, above the second is not
    false_alarm_rate: list[float]  # of Correct parts rejected: at most the first is acceptable, above the second is not
    confidence: float  # of the intervals, from 0 to 1

    def __post_init__(self) -> None:
        if self.source is None:
            raise UserError(
                "source: expected a .csv with part,appraiser,trial,verdict[,reference]: give source=verdicts.csv"
            )
        for name in ("effectiveness", "miss_rate", "false_alarm_rate"):
            limits = getattr(self, name)
            fine = len(limits) == 2 and all(0 <= limit <= 1 for limit in limits)
            check(fine, name, "two shares, such as [0.9, 0.8]", limits)
        check(0 < self.confidence < 1, "confidence", "a share between 0 and 1", self.confidence)
