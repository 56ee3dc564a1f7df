"""Settings of a training."""

from dataclasses import dataclass
from typing import Any, Literal

from qc_lightning.config.augment import AugmentConfig
from qc_lightning.config.checks import check, check_choice
from qc_lightning.config.cluster import RayConfig
from qc_lightning.config.data import AnyData
from qc_lightning.config.decisions import DecisionConfig
from qc_lightning.config.model import ModelConfig
from qc_lightning.core.errors import UserError


@dataclass(kw_only=True)
class OptimConfig:
    """The optimizer."""

    lr: float  # learning rate
    weight_decay: float  # L2 penalty, decoupled for adamw
    patience: int | None  # stop when the validation loss has not fallen for this many epochs; null: never
    name: Literal["adam", "adamw", "sgd"]  # sgd with momentum 0.9

    def __post_init__(self) -> None:
        check(self.patience is None or self.patience >= 1, "optim.patience", "at least 1 epoch", self.patience)
        check(self.lr > 0, "optim.lr", "a step size above 0", self.lr)
        check(self.weight_decay >= 0, "optim.weight_decay", "0 or more", self.weight_decay)


@dataclass(kw_only=True)
class LoggerConfig:
    """Loggers that receive the metrics of every epoch and of the test; any number of these.

    The values are here, because listed options (logger=[tensorboard,mlflow]) contain only what they switch on.
    """

    csv: bool = True  # history.csv, which every run writes
    tensorboard: bool = False  # event files in the run folder; needs the extra "tensorboard"
    mlflow: bool = False  # outputs/mlflow.db, or the server that MLFLOW_TRACKING_URI names; needs the extra "mlflow"
    wandb: bool = False  # Weights & Biases; needs the extra "wandb"
    project: str = "qc-lightning"  # project in MLflow and Weights & Biases


@dataclass(kw_only=True)
class SweepConfig:
    """Many trainings from one command."""

    sampler: Literal["grid", "random", "tpe"]  # every combination, or sweep.trials points
    params: dict[str, str]  # key: values to try, as on the command line, which overrides them
    trials: int  # number of points of random and tpe
    seed: int  # of the points of random and tpe
    objective: str  # validation metric that selects the winner: val_auroc, val_loss, ...
    retrain: bool  # true: train the winner again on train and val together, and test it once
    resume: str | None  # a sweep's folder, or latest, to continue; finished jobs are skipped

    def __post_init__(self) -> None:
        check(self.trials >= 1, "sweep.trials", "at least 1", self.trials)
        validation = self.objective.startswith("val_")
        check(validation, "sweep.objective", "a validation figure, val_..., never one of the test part", self.objective)


@dataclass(kw_only=True)
class TrainConfig:
    """`python -m qc_lightning.train`."""

    data: AnyData
    model: ModelConfig
    augment: AugmentConfig
    optim: OptimConfig
    trainer: dict[str, Any]  # flags of lightning.Trainer
    logger: LoggerConfig
    decision: DecisionConfig
    imbalance: Literal["auto", "none", "pos_weight", "sampler", "focal"]  # auto: pos_weight if a class is below 40%
    seed: int  # of split, weights, order, augmentation and dropout
    resume: str | None  # a run folder, or latest, to continue from its last.ckpt
    report: bool  # figures/ and report.html
    score_test: bool  # false: the test photos are not evaluated
    sweep: SweepConfig
    engine: Literal["local", "ray"]  # compute features of pretrained networks on this machine or on a cluster
    ray: RayConfig  # for engine=ray and hydra/launcher=ray_cluster
    experiment: Any = None  # name of a recipe in conf/experiment, resolved by Hydra

    def __post_init__(self) -> None:
        if self.engine == "ray" and not self.model.pretrained:
            raise UserError("engine=ray computes the features of a pretrained network: add experiment=recommended")
        check(0 <= self.seed < 2**32, "seed", "0 to 4294967295", self.seed)
        split = self.data.split
        valid = self.optim.patience is None or split.val > 0 or split.fold is not None
        check(valid, "optim.patience", "null without a validation part (data.split.val=0)", self.optim.patience)
        model = self.model
        if model.cross_validated:
            check_choice(f"imbalance with model.mode={model.mode}", self.imbalance, ("auto", "none", "pos_weight"))
        if model.tail:
            check(self.data.tiles == "1x1", "data.tiles", "1x1 with model.mode=tail", self.data.tiles)
        epochs, steps = self.trainer.get("max_epochs"), self.trainer.get("max_steps", -1)
        if model.pretrained and model.hidden:
            valid = isinstance(epochs, int) and epochs >= 1
            check(valid, "trainer.max_epochs", f"at least 1 with model.mode={model.mode} and hidden layers", epochs)
        valid = not model.pretrained or model.frozen or (epochs, steps) != (-1, -1)
        check(valid, "trainer.max_epochs", f"an end with model.mode={model.mode}, whose step sizes follow it", epochs)
        if model.copies > 0 and self.augment.policy != "ranges":
            raise UserError(
                f"augment.policy={self.augment.policy}: the augmented copies that this recipe's head is fitted to are "
                "drawn from ranges: choose augment=light, or model.copies=0 for no copies"
            )
