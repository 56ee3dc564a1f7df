"""The settings of the network.

What a value of `model.mode` means is said here, by properties; `training/modes.py` picks the module by it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qc_lightning.config.checks import check
from qc_lightning.config.data import Resize

TAIL_NEEDS = (
    "for model.mode=tail a timm EfficientNet, model.patches=true and model.hidden=[], such as model=efficientnet_lite0"
)
PRETRAINED_MODES = ("frozen", "tail", "finetune")


@dataclass(kw_only=True)
class ModelConfig:
    """The network."""

    library: Literal["own", "torchvision", "timm"]  # own: the paper's mlp
    name: str  # the library's name for it
    weights: str  # none | auto (an installed package, the torch hub folder, a download) | a file
    mode: Literal["scratch", "frozen", "tail", "finetune"]  # frozen: the head learns; tail, finetune: then stages too
    stages: int  # how many of the last stages feed the head; small defects live in the earlier ones
    pool: list[Literal["avg", "max", "std"]]  # avg, max, std: what the head gets of a stage's map
    input_size: int  # side of the photos it was made for; data.image_size follows it
    hidden: list[int]  # widths of the hidden layers, of the mlp or of the head; [] for a linear head
    dropout: float  # share of a hidden layer's outputs that a step leaves out
    views: Literal[1, 2, 4]  # features are averaged over the photo, its mirror image, both upside down
    penalty: float  # of a pretrained network: weight of the squared norm of its linear head as it is fitted
    copies: int  # of a pretrained network: augmented copies of each training photo that its head is fitted to too
    clip: float  # of a pretrained network: standard deviations at which a feature is cut off; inf: never
    resize: Resize  # of photos that are not square; data.resize follows it
    patches: bool  # of a pretrained network with a linear head: let it see small patches too, if they help
    distance: bool  # of such a head: score the distance to Correct photos; always where no photo is Incorrect

    def __post_init__(self) -> None:
        check(self.penalty > 0, "model.penalty", "a weight above 0", self.penalty)
        check(self.clip > 0, "model.clip", "standard deviations above 0", self.clip)
        check(self.stages >= 1, "model.stages", "at least 1", self.stages)
        check(bool(self.pool), "model.pool", "at least one of avg, max, std", self.pool)
        check(self.copies >= 0, "model.copies", "0 or more", self.copies)
        valid = self.copies == 0 or self.pretrained
        check(valid, "model.copies", f"0 with model.mode={self.mode}", self.copies)
        valid = self.weights != "none" or not self.pretrained
        check(valid, "model.weights", f"auto or a file with model.mode={self.mode}", self.weights)
        valid = not self.tail or (self.library == "timm" and self.patches and not self.hidden)
        check(valid, "model", TAIL_NEEDS, f"{self.name} ({self.library})")
        check(all(width >= 1 for width in self.hidden), "model.hidden", "widths of at least 1", self.hidden)
        check(0 <= self.dropout < 1, "model.dropout", "a share from 0 to below 1", self.dropout)

    @classmethod
    def stored(cls, settings: Mapping[str, Any]) -> "ModelConfig":
        """The settings that a checkpoint holds; what was no setting yet when it was made is as it was then.

        Raises:
            TypeError: they are another release's.
        """
        return cls(**{"clip": math.inf, "resize": "squash", "patches": False, "distance": False, **settings})

    @property
    def pretrained(self) -> bool:
        """Whether it begins with published weights, under a head that is fitted to their features."""
        return self.mode in PRETRAINED_MODES

    @property
    def frozen(self) -> bool:
        """Whether only the head learns."""
        return self.mode == "frozen"

    @property
    def tail(self) -> bool:
        """Whether copies of two stages learn for the patches, beside the head of a frozen network."""
        return self.mode == "tail"

    @property
    def cross_validated(self) -> bool:
        """Whether cross-validation chooses, so that no validation part is needed."""
        return self.frozen or self.tail

    @property
    def solved(self) -> bool:
        """Whether all that learns is solved exactly, in one step."""
        return self.frozen and not self.hidden
