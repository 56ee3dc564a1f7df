"""The settings of the augmentation."""

from dataclasses import dataclass
from typing import Literal

from qc_lightning.config.checks import check


@dataclass(kw_only=True)
class AugmentConfig:
    """Random augmentation of each training photo in each epoch."""

    policy: Literal["ranges", "trivial", "randaugment"]  # ranges: those below
    rotation: float  # degrees, either way
    zoom: float  # fraction, in or out
    shift: float  # fraction of the side, either way
    hflip: float  # probability of a left-right mirror
    vflip: float  # probability of an upside-down mirror
    brightness: float  # fraction, more or less
    contrast: float  # fraction, more or less
    blur: float  # sigma up to this many percent of the side
    noise: float  # standard deviation up to this many grey levels of 255
    mixup: float  # alpha of the Beta distribution of the blending weights; 0: no mixup
    probe: bool  # draw each policy's effect on Incorrect photos: figures/augment_probe.png

    def __post_init__(self) -> None:
        check(0 <= self.rotation <= 180, "augment.rotation", "0 to 180 degrees", self.rotation)
        for name in ("zoom", "shift", "brightness", "contrast"):
            check(0 <= getattr(self, name) < 1, f"augment.{name}", "0 to below 1", getattr(self, name))
        for name in ("hflip", "vflip"):
            check(0 <= getattr(self, name) <= 1, f"augment.{name}", "a probability from 0 to 1", getattr(self, name))
        check(0 <= self.blur <= 10, "augment.blur", "0 to 10 percent of the side", self.blur)
        check(0 <= self.noise <= 255, "augment.noise", "0 to 255 grey levels", self.noise)
        check(0 <= self.mixup <= 10, "augment.mixup", "0 to 10", self.mixup)
