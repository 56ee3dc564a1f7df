"""Loggers for the metrics of every epoch and of the test: TensorBoard, MLflow, Weights & Biases."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from qc_lightning.config import LoggerConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.lock import in_turn
from qc_lightning.core.run import OUTPUTS, Run


def build_loggers(config: LoggerConfig, run: Run) -> list[Logger]:
    """Build the enabled loggers; history.csv needs none.

    Raises:
        UserError: the package of one is not installed.
    """
    builders: dict[str, Callable[[str, Run], Logger]] = {
        "tensorboard": _tensorboard,
        "mlflow": _mlflow,
        "wandb": _wandb,
    }
    loggers = []
    for name, build in builders.items():
        if getattr(config, name):
            try:
                loggers.append(build(config.project, run))
            except ModuleNotFoundError as error:
                raise UserError(
                    f'logger={name} needs a package that is not installed: pip install "qc-lightning[{name}]"'
                ) from error
    return loggers


def log_outcome(loggers: Iterable[Logger], metrics: Mapping[str, Any], step: int, report: Path) -> None:
    """Log what is known only after the test: the rates of the verdicts, and the report as an MLflow artifact.

    Args:
        loggers: of the training.
        metrics: as metrics.json holds them. Verdicts depend on the review band and on the limit of novelty, which the
            module does not know; its own figures go by the threshold.
        step: the last of the training.
        report: the page, where one was written.
    """
    from lightning.pytorch.loggers import MLFlowLogger

    wanted = [("val", "review_rate"), *(("test", f"{name}_rate") for name in ("escape", "overkill", "review"))]
    rates = {f"{subset}_{name}": metrics[subset][name]["value"] for subset, name in wanted if subset in metrics}
    for logger in loggers:
        logger.log_metrics({name: value for name, value in rates.items() if value is not None}, step)
        if isinstance(logger, MLFlowLogger) and logger.run_id is not None and report.is_file():
            logger.experiment.log_artifact(logger.run_id, str(report))
        logger.save()


def _tensorboard(project: str, run: Run) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(run.folder, name="", version="tensorboard")


def _mlflow(project: str, run: Run) -> Logger:
    """One database for all runs, or the server that MLflow's own variable names."""
    from lightning.pytorch.loggers import MLFlowLogger

    OUTPUTS.mkdir(exist_ok=True)
    store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(OUTPUTS / 'mlflow.db').resolve()}"
    artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (OUTPUTS / "mlflow").resolve().as_uri()
    with in_turn(OUTPUTS / ".mlflow.lock"):  # two processes that create the database at the same time would break it
        logger = MLFlowLogger(project, run_name=_name(run), tracking_uri=store, artifact_location=artifacts)
        _ = logger.experiment
    return logger


def _wandb(project: str, run: Run) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(project=project, name=_name(run), save_dir=run.folder)


def _name(run: Run) -> str:
    """The run's folder below outputs/, which says when it began; a folder elsewhere by its own name."""
    folder = run.folder.resolve()
    return str(folder.relative_to(OUTPUTS.resolve())) if folder.is_relative_to(OUTPUTS.resolve()) else folder.name
