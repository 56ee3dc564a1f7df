"""The settings of a training."""

import math
import re
from dataclasses import dataclass, field
from typing import Any

from qc_lightning.config.checks import check, check_choice
from qc_lightning.core.errors import UserError


@dataclass
class ClassNames:
    """The two classes, by folder name or label; `incorrect` is the positive class, label 1."""

    correct: str  # folder or label of good parts
    incorrect: str  # folder or label of bad parts: the positive class

    def __post_init__(self) -> None:
        check(self.correct != self.incorrect, "data.classes", "two different names", self.correct)

    @property
    def names(self) -> tuple[str, str]:
        """The names in the order of their labels, 0 and 1."""
        return self.correct, self.incorrect


@dataclass
class SplitConfig:
    """How the photos are dealt into train, val and test."""

    test: float  # share of all photos, looked at once, at the end
    val: float  # share of the rest, which chooses the checkpoint and the threshold; 0 for no validation part
    seed: int  # deals the photos; the run's seed unless given
    folds: int = 5  # with fold: the training part is dealt into this many
    fold: int | None = None  # this one is the validation part, instead of val; from folds on, those of further dealings

    def __post_init__(self) -> None:
        check(self.folds >= 2, "data.split.folds", "at least 2", self.folds)
        check(self.fold is None or self.fold >= 0, "data.split.fold", "0 or more, or null", self.fold)
        check(0 < self.test < 1, "data.split.test", "a share between 0 and 1", self.test)
        check(0 <= self.val < 1, "data.split.val", "a share from 0 to below 1", self.val)


@dataclass
class DataConfig:
    """Which photos, and how they become batches."""

    source: str  # parts | folder | elpv: chosen by data=; folder when root or manifest is given
    root: str | None  # folder of your photos, with a folder for each class; or where a manifest's paths count from
    manifest: str | None  # a CSV instead of folders: path,label[,group][,subset]
    classes: ClassNames
    group: str  # which photos show one part and stay together: none | folder | prefix | module (elpv)
    split: SplitConfig
    image_size: int  # photos become about image_size x image_size pixels
    resize: str  # shape | squash | letterbox
    bit_depth: int  # real bits of 16-bit files
    on_bad_file: str  # error | skip: what to do with a file that is no readable photo
    max_bad_share: float  # skip refuses when more than this share is unreadable
    cache: str  # disk: decoded once and kept | ram: decoded in every run | off: decoded in every epoch
    cache_dir: str  # where decoded photos and features are kept
    batch_size: int  # photos in a step
    count: int | None  # parts: how many photos to render
    uncertain: str | None  # elpv: cells with a defect probability of 1/3 or 2/3: drop | threshold (2/3 is Incorrect)
    max_pixels: int = 178_956_970  # photos with more are refused; Pillow's own limit, and the only one before
    cache_limit: float = 20.0  # gigabytes of decoded photos kept there; the longest unused make room
    tiles: str = "1x1"  # rows x columns of about image_size x image_size that a photo is cut into
    corrections: str | None = None  # a corrections.csv that a page has saved
    near_duplicates: str = "group"  # warn | group | error: what to do about photos that are nearly copies of others

    def __post_init__(self) -> None:
        check_choice("data.source", self.source, ("parts", "folder", "elpv"))
        check_choice("data.group", self.group, ("none", "folder", "prefix", "module"))
        if self.group == "module" and self.source != "elpv":
            raise UserError(f"data.group=module: only data=elpv has modules, got data={self.source}")
        if self.source != "folder" and (self.root or self.manifest):
            given = "data.root" if self.root else "data.manifest"
            raise UserError(f"{given} names photos of your own: leave out data={self.source}, or give data=folder")
        check(8 <= self.image_size <= 2048, "data.image_size", "8 to 2048 pixels", self.image_size)
        fine = re.fullmatch(r"[1-9]\d?x[1-9]\d?", self.tiles) is not None
        check(fine, "data.tiles", "ROWSxCOLUMNS, each from 1 to 99, such as 2x3", self.tiles)
        side = self.image_size * max(self.grid)
        check(side <= 16384, "data.tiles", "at most 16384 pixels of tiles along each side", side)
        check_choice("data.near_duplicates", self.near_duplicates, ("warn", "group", "error"))
        check_choice("data.resize", self.resize, ("shape", "squash", "letterbox"))
        check(9 <= self.bit_depth <= 16, "data.bit_depth", "9 to 16 bits", self.bit_depth)
        check(self.max_pixels >= 1, "data.max_pixels", "at least 1 pixel", self.max_pixels)
        check_choice("data.on_bad_file", self.on_bad_file, ("error", "skip"))
        check(0 <= self.max_bad_share < 1, "data.max_bad_share", "a share from 0 to below 1", self.max_bad_share)
        check_choice("data.cache", self.cache, ("disk", "ram", "off"))
        check(self.cache_limit >= 0, "data.cache_limit", "gigabytes, 0 or more", self.cache_limit)
        check(self.batch_size >= 1, "data.batch_size", "at least 1", self.batch_size)
        if self.source == "folder" and self.root is None and self.manifest is None:
            raise UserError("data=folder needs your photos: give data.root=photos/ or data.manifest=labels.csv")
        if self.source == "parts":
            check(self.count is not None and self.count >= 2, "data.count", "at least 2 photos", self.count)
        if self.source == "elpv":
            check_choice("data.uncertain", str(self.uncertain), ("drop", "threshold"))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        rows, columns = self.tiles.split("x")
        return int(rows), int(columns)


@dataclass
class ModelConfig:
    """The network."""

    library: str  # own (the paper's mlp) | torchvision | timm
    name: str  # the library's name for it
    weights: str  # none | auto (an installed package, the torch hub folder, a download) | a file
    mode: str  # scratch | frozen (only the head learns) | finetune (then the later half of the stages with it)
    stages: int  # how many of the last stages feed the head; small defects live in the earlier ones
    pool: list[str]  # what the head gets of a stage's feature map: avg, max, std
    input_size: int  # side of the photos it was made for; data.image_size follows it
    hidden: list[int]  # widths of the hidden layers, of the mlp or of the head; [] for a linear head
    dropout: float  # share of a hidden layer's outputs that a step leaves out
    views: int  # 1, 2 (and its mirror image) or 4 (and both upside down): features are averaged over them
    penalty: float  # of a pretrained network: weight of the squared norm of its linear head as it is fitted
    copies: int  # of a pretrained network: augmented copies of each training photo that its head is fitted to too
    clip: float = math.inf  # of a pretrained network: standard deviations at which a feature is cut off; inf: never
    resize: str = "squash"  # of photos that are not square; data.resize follows it; squash before this was a setting
    patches: bool = False  # of a pretrained network with a linear head: let it see small patches too, if they help

    def __post_init__(self) -> None:
        check(self.views in (1, 2, 4), "model.views", "1, 2 or 4", self.views)
        check(self.penalty > 0, "model.penalty", "a weight above 0", self.penalty)
        check(self.clip > 0, "model.clip", "standard deviations above 0", self.clip)
        check_choice("model.library", self.library, ("own", "torchvision", "timm"))
        check_choice("model.mode", self.mode, ("scratch", "frozen", "finetune"))
        check(self.stages >= 1, "model.stages", "at least 1", self.stages)
        for pool in self.pool:
            check_choice("model.pool", pool, ("avg", "max", "std"))
        check(bool(self.pool), "model.pool", "at least one of avg, max, std", self.pool)
        check(self.copies >= 0, "model.copies", "0 or more", self.copies)
        check(self.copies == 0 or self.mode != "scratch", "model.copies", "0 with model.mode=scratch", self.copies)
        pretrained = self.mode == "scratch" or self.weights != "none"
        check(pretrained, "model.weights", f"auto or a file with model.mode={self.mode}", self.weights)
        check(all(width >= 1 for width in self.hidden), "model.hidden", "widths of at least 1", self.hidden)
        check(0 <= self.dropout < 1, "model.dropout", "a share from 0 to below 1", self.dropout)


@dataclass
class AugmentConfig:
    """The random change that each training photo gets in each epoch."""

    policy: str  # ranges (those below) | trivial | randaugment
    rotation: float  # degrees, either way
    zoom: float  # share, nearer or farther
    shift: float  # share of the side, either way
    hflip: float  # probability of a left-right mirror
    vflip: float  # probability of an upside-down mirror
    brightness: float  # share, more or less
    contrast: float  # share, more or less
    blur: float  # sigma up to this many percent of the side
    noise: float  # standard deviation up to this many grey levels of 255
    mixup: float  # alpha of the Beta distribution that photos are blended by; 0: none
    probe: bool  # draw what each policy does to Incorrect photos: figures/augment_probe.png

    def __post_init__(self) -> None:
        check_choice("augment.policy", self.policy, ("ranges", "trivial", "randaugment"))
        check(0 <= self.rotation <= 180, "augment.rotation", "0 to 180 degrees", self.rotation)
        for name in ("zoom", "shift", "brightness", "contrast"):
            check(0 <= getattr(self, name) < 1, f"augment.{name}", "0 to below 1", getattr(self, name))
        for name in ("hflip", "vflip"):
            check(0 <= getattr(self, name) <= 1, f"augment.{name}", "a probability from 0 to 1", getattr(self, name))
        check(0 <= self.blur <= 10, "augment.blur", "0 to 10 percent of the side", self.blur)
        check(0 <= self.noise <= 255, "augment.noise", "0 to 255 grey levels", self.noise)
        check(0 <= self.mixup <= 10, "augment.mixup", "0 to 10", self.mixup)


@dataclass
class OptimConfig:
    """How the weights are moved."""

    lr: float  # the step size
    weight_decay: float  # how strongly weights are drawn to 0
    patience: int | None  # stop when the validation loss has not fallen for this many epochs; null: never
    name: str = "adam"  # adam | adamw | sgd (momentum 0.9)

    def __post_init__(self) -> None:
        check_choice("optim.name", self.name, ("adam", "adamw", "sgd"))
        check(self.patience is None or self.patience >= 1, "optim.patience", "at least 1 epoch", self.patience)
        check(self.lr > 0, "optim.lr", "a step size above 0", self.lr)
        check(self.weight_decay >= 0, "optim.weight_decay", "0 or more", self.weight_decay)


@dataclass
class LoggerConfig:
    """Where the figures of every epoch and of the test go besides the run folder: any number of these."""

    csv: bool = True  # history.csv, which every run writes
    tensorboard: bool = False  # event files in the run folder; needs the extra "tensorboard"
    mlflow: bool = False  # outputs/mlflow.db, or the server that MLFLOW_TRACKING_URI names; needs the extra "mlflow"
    wandb: bool = False  # Weights & Biases; needs the extra "wandb"
    project: str = "qc-lightning"  # what MLflow and Weights & Biases file the run under


@dataclass
class CostConfig:
    """What a verdict costs, in any currency."""

    escape: float = 10.0  # an Incorrect part that passed
    overkill: float = 1.0  # a Correct part that was rejected
    review: float | None = None  # a person looks at the part; null: nobody does

    def __post_init__(self) -> None:
        for name in ("escape", "overkill", "review"):
            cost = getattr(self, name)
            check(cost is None or 0 <= cost < math.inf, f"decision.costs.{name}", "a cost of 0 or more", cost)


@dataclass
class DecisionConfig:
    """How the threshold is chosen, on validation photos alone."""

    rule: str  # fixed: the threshold below | balanced | f1 | cost | escape: chosen on validation photos
    threshold: float  # fixed: REJECT when P(Incorrect) is at least this
    escape_rate: float | None = None  # at most this share of Incorrect parts may pass
    overkill_rate: float | None = None  # at most this share of Correct parts may be rejected
    costs: CostConfig = field(default_factory=CostConfig)
    bad_share: float | None = None  # of the parts on the line; null: shown for 0.1%, 1% and 5%
    novelty: float | None = 0.01  # share of good photos that may be called unlike all others; null: not measured

    def __post_init__(self) -> None:
        check_choice("decision.rule", self.rule, ("fixed", "balanced", "f1", "cost", "escape"))
        fine = self.novelty is None or 0 < self.novelty < 1
        check(fine, "decision.novelty", "a rate between 0 and 1, or null", self.novelty)
        check(0 <= self.threshold <= 1, "decision.threshold", "a probability from 0 to 1", self.threshold)
        for name in ("escape_rate", "overkill_rate", "bad_share"):
            share = getattr(self, name)
            check(share is None or 0 < share < 1, f"decision.{name}", "a share between 0 and 1", share)
        fine = self.rule != "escape" or self.escape_rate is not None
        check(fine, "decision.escape_rate", "a share with decision.rule=escape, such as 0.02", self.escape_rate)
        fine = self.rule != "cost" or self.bad_share is not None
        check(fine, "decision.bad_share", "the line's share of bad parts with decision.rule=cost", self.bad_share)


@dataclass
class SweepConfig:
    """Many trainings from one command."""

    sampler: str  # grid: every combination | random | tpe: sweep.trials points
    params: dict[str, str]  # key: values to try, as on the command line, which replaces them
    trials: int  # points of random and tpe
    seed: int  # draws the points of random and tpe
    objective: str  # figure of the validation part that the winner is best in: val_auroc, val_loss, ...
    retrain: bool  # true: the winner once more on train and val together, tested once
    resume: str | None  # a sweep's folder, or latest, to continue; finished jobs are not run again

    def __post_init__(self) -> None:
        check_choice("sweep.sampler", self.sampler, ("grid", "random", "tpe"))
        check(self.trials >= 1, "sweep.trials", "at least 1", self.trials)
        validation = self.objective.startswith("val_")
        check(validation, "sweep.objective", "a validation figure, val_..., never one of the test part", self.objective)


@dataclass
class TrainConfig:
    """`python -m qc_lightning.train`."""

    data: DataConfig
    model: ModelConfig
    augment: AugmentConfig
    optim: OptimConfig
    trainer: dict[str, Any]  # flags of lightning.Trainer
    logger: LoggerConfig
    decision: DecisionConfig
    imbalance: str  # auto | none | pos_weight | sampler | focal; auto: pos_weight when a class is below 40%
    seed: int  # split, weights, order, augmentation and dropout follow from it
    resume: str | None  # a run folder, or latest, to continue from its last.ckpt
    report: bool  # figures/ and report.html
    score_test: bool  # false: the test part stays unseen
    sweep: SweepConfig
    experiment: Any = None  # name of a recipe in conf/experiment, resolved by Hydra

    def __post_init__(self) -> None:
        check_choice("imbalance", self.imbalance, ("auto", "none", "pos_weight", "sampler", "focal"))
        check(0 <= self.seed < 2**32, "seed", "0 to 4294967295", self.seed)
        split = self.data.split
        fine = self.optim.patience is None or split.val > 0 or split.fold is not None
        check(fine, "optim.patience", "null without a validation part (data.split.val=0)", self.optim.patience)
        if self.model.mode == "frozen":
            check_choice("imbalance with model.mode=frozen", self.imbalance, ("auto", "none", "pos_weight"))
        epochs, steps = self.trainer.get("max_epochs"), self.trainer.get("max_steps", -1)
        if self.model.mode != "scratch" and self.model.hidden:
            fine = isinstance(epochs, int) and epochs >= 1
            check(fine, "trainer.max_epochs", f"at least 1 with model.mode={self.model.mode} and hidden layers", epochs)
        fine = self.model.mode != "finetune" or (epochs, steps) != (-1, -1)
        check(fine, "trainer.max_epochs", "an end with model.mode=finetune, whose step sizes follow it", epochs)
        if self.model.copies > 0 and self.augment.policy != "ranges":
            raise UserError(
                f"augment.policy={self.augment.policy}: the augmented copies that this recipe's head is fitted to are "
                "drawn from ranges: choose augment=light, or model.copies=0 for no copies"
            )
