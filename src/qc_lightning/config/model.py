"""Settings of the network.

The properties define what each value of `model.mode` means; `training/modes.py` selects the module by them.
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
    name: str  # the library's name of the network
    weights: str  # none | auto (an installed package, the torch hub folder, a download) | a file
    mode: Literal["scratch", "frozen", "tail", "finetune"]  # frozen: the head learns; tail, finetune: then stages too
    stages: int  # number of last stages that feed the head; small defects show in the earlier ones
    pool: list[Literal["avg", "max", "std"]]  # statistics of each stage's map that the head gets: avg, max, std
    input_size: int  # side of the photos it was trained on; default of data.image_size
    hidden: list[int]  # widths of the hidden layers of the mlp or the head; [] for a linear head
    dropout: float  # dropout probability after each hidden layer
    views: Literal[1, 2, 4]  # views whose features are averaged: the photo, its mirror image, both upside down
    penalty: float  # pretrained networks: L2 penalty of the linear head
    copies: int  # pretrained networks: augmented copies of each training photo, also used to fit the head
    clip: float  # pretrained networks: standard deviations at which a feature is cut off; inf: never
    resize: Resize  # default of data.resize, for photos that are not square
    patches: bool  # pretrained networks with a linear head: also score small patches, if this helps
    distance: bool  # such a head: also score the distance to Correct photos; always used if no photo is Incorrect

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
        """Read the settings in a checkpoint; a setting newer than the checkpoint gets the value that it had implicitly.

        Raises:
            TypeError: another release wrote them.
        """
        return cls(**{"clip": math.inf, "resize": "squash", "patches": False, "distance": False, **settings})

    @property
    def pretrained(self) -> bool:
        """Whether the network starts from published weights with a head fitted to its features."""
        return self.mode in PRETRAINED_MODES

    @property
    def frozen(self) -> bool:
        """Whether only the head is trained."""
        return self.mode == "frozen"

    @property
    def tail(self) -> bool:
        """Whether copies of two stages are fine-tuned for the patches, in addition to a frozen network's head."""
        return self.mode == "tail"

    @property
    def cross_validated(self) -> bool:
        """Whether cross-validation replaces the validation part."""
        return self.frozen or self.tail

    @property
    def solved(self) -> bool:
        """Whether everything trainable is solved exactly, in one step."""
        return self.frozen and not self.hidden
