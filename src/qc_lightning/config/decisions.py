"""Settings of decisions: the rule of a training, and the commands certify, decide, release and gauge."""

import math
from dataclasses import dataclass
from typing import Literal

from qc_lightning.config.checks import check, check_device
from qc_lightning.config.commands import OtherPhotosConfig
from qc_lightning.core.errors import UserError

Rule = Literal["fixed", "even", "balanced", "f1", "cost", "escape", "overkill"]


@dataclass(kw_only=True)
class CostConfig:
    """What a verdict costs, in any currency."""

    escape: float  # an Incorrect part that passed
    overkill: float  # a Correct part that was rejected
    review: float | None  # a person looks at the part; null: no review


@dataclass(kw_only=True)
class DecisionConfig:
    """How the threshold is chosen, on validation photos alone."""

    rule: Rule  # fixed: the threshold below; others choose it on validation photos
    threshold: float  # fixed: REJECT when P(Incorrect) is at least this
    escape_rate: float | None  # largest fraction of Incorrect parts that may pass
    overkill_rate: float | None  # largest fraction of Correct parts that may be rejected
    costs: CostConfig
    bad_share: float | None  # fraction of Incorrect parts on the line; null: shown for 0.1%, 1% and 5%
    novelty: float | None  # fraction of good photos that may be flagged as novel; null: not measured

    def __post_init__(self) -> None:
        valid = self.novelty is None or 0 < self.novelty < 1
        check(valid, "decision.novelty", "a rate between 0 and 1, or null", self.novelty)
        _check_rule(self, "decision.")


def _check_rule(settings: "DecisionConfig | DecideConfig", where: str) -> None:
    """Check a rule and what it needs; `where` stands before the settings' names."""
    threshold = settings.threshold
    check(threshold is None or 0 <= threshold <= 1, f"{where}threshold", "a probability from 0 to 1", threshold)
    for name in ("escape_rate", "overkill_rate", "bad_share"):
        rate = getattr(settings, name)
        check(rate is None or 0 < rate < 1, f"{where}{name}", "a share between 0 and 1", rate)
    for name in ("escape", "overkill", "review"):
        cost = getattr(settings.costs, name)
        check(cost is None or 0 <= cost < math.inf, f"{where}costs.{name}", "a cost of 0 or more", cost)
    valid, rate = settings.rule != "escape" or settings.escape_rate is not None, settings.escape_rate
    check(valid, f"{where}escape_rate", f"a share with {where}rule=escape, such as 0.02", rate)
    valid, rate = settings.rule != "cost" or settings.bad_share is not None, settings.bad_share
    check(valid, f"{where}bad_share", f"the line's share of bad parts with {where}rule=cost", rate)


@dataclass(kw_only=True)
class CertifyConfig:
    """`qc-lightning certify`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    data: OtherPhotosConfig  # labelled qualification photos that the run has never seen
    escape_rate: float  # largest fraction of Incorrect parts that may pass
    overkill_rate: float | None  # largest fraction of Correct parts that may be rejected; null: not certified
    confidence: float  # of the claims, from 0 to 1
    together: bool  # both rates hold jointly at this confidence, not only separately
    by: str | None  # who certifies; null: the account
    reason: str | None  # why, on record with it
    device: str  # auto | cpu | cuda | cuda:<n>

    def __post_init__(self) -> None:
        for name in ("escape_rate", "overkill_rate", "confidence"):
            rate = getattr(self, name)
            check(rate is None or 0 < rate < 1, name, "a share between 0 and 1", rate)
        check_device(self.device)
        if self.data.root is None and self.data.manifest is None:
            raise UserError("data.root: expected the qualification photos: give data.root=qualification/")


@dataclass(kw_only=True)
class DecideConfig:
    """`qc-lightning decide`."""

    run: str | None  # a run folder, latest or a release's name; null: the only release, else latest
    rule: Rule  # all but fixed use the run's validation photos
    threshold: float | None  # for rule=fixed
    review: list[float] | None  # [low, high] for rule=fixed: a person looks at parts in between
    escape_rate: float | None  # for rule=escape: largest fraction of Incorrect parts that may pass
    overkill_rate: float | None  # largest fraction of Correct parts that may be rejected
    costs: CostConfig
    bad_share: float | None  # for rule=cost: fraction of Incorrect parts on the line
    reason: str | None  # why, on record with it
    by: str | None  # who decides; null: the account
    device: str  # auto | cpu | cuda | cuda:<n>

    def __post_init__(self) -> None:
        check_device(self.device)
        if not (self.reason or "").strip():
            raise UserError('reason: expected the reason, which is recorded with the decision: give reason="..."')
        valid = (self.rule == "fixed") == (self.threshold is not None)
        check(valid, "threshold", "a probability with rule=fixed, and none with another rule", self.threshold)
        _check_rule(self, "")
        if self.review is not None:
            low, high = self.review if len(self.review) == 2 else (math.nan, math.nan)
            valid = self.threshold is not None and 0 <= low <= self.threshold <= high <= 1
            check(valid, "review", "two thresholds [low, high] around threshold=, with rule=fixed", self.review)

    @property
    def decision(self) -> DecisionConfig:
        """These settings as a training's."""
        return DecisionConfig(
            rule=self.rule,
            threshold=0.5 if self.threshold is None else self.threshold,
            escape_rate=self.escape_rate,
            overkill_rate=self.overkill_rate,
            costs=self.costs,
            bad_share=self.bad_share,
            novelty=None,
        )


@dataclass(kw_only=True)
class ReleaseConfig:
    """`qc-lightning release`."""

    run: str | None  # a run folder, or latest
    name: str | None  # of the release, such as line-3
    decision: int | None  # number in its decision.json; null: the newest
    reason: str | None  # why, on record with it
    by: str | None  # who releases it; null: the account
    force: bool  # release even if by its own metrics it cannot tell the classes apart

    def __post_init__(self) -> None:
        if self.run is None or self.name is None:
            raise UserError("expected a run and a name: give run=<folder> name=line-3")


@dataclass(kw_only=True)
class ReleasesConfig:
    """`qc-lightning releases`."""


@dataclass(kw_only=True)
class GaugeConfig:
    """`qc-lightning gauge`."""

    source: str | None  # a .csv with the columns part, appraiser, trial, verdict and, if known, reference
    output: str  # folder of gauge.json and gauge.html
    effectiveness: list[float]  # at least the first is acceptable, below the second is not
    miss_rate: list[float]  # at most the first is acceptable, above the second is not
    false_alarm_rate: list[float]  # of Correct parts rejected: at most the first is acceptable, above the second is not
    kappa: list[float]  # Cohen's, against the reference: at least the first is acceptable, below the second is not
    confidence: float  # of the intervals, from 0 to 1

    def __post_init__(self) -> None:
        if self.source is None:
            raise UserError(
                "source: expected a .csv with part,appraiser,trial,verdict[,reference]: give source=verdicts.csv"
            )
        for name in ("effectiveness", "miss_rate", "false_alarm_rate", "kappa"):
            limits = getattr(self, name)
            valid = len(limits) == 2 and all(0 <= limit <= 1 for limit in limits)
            falling = name in ("effectiveness", "kappa")  # the larger the better
            valid = valid and limits == sorted(limits, reverse=falling)
            example = "[0.9, 0.8]" if falling else "[0.02, 0.05]"
            check(valid, name, f"two shares, that of an acceptable appraiser first, such as {example}", limits)
        check(0 < self.confidence < 1, "confidence", "a share between 0 and 1", self.confidence)
