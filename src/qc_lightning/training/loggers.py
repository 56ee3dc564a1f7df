"""Where the figures of every epoch and of the test go besides the run folder: TensorBoard, MLflow, Weights & Biases."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from lightning.pytorch.loggers import Logger

from qc_lightning.config import LoggerConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import OUTPUTS, Run


def build_loggers(config: LoggerConfig, run: Run) -> list[Logger]:
    """Build the loggers that are switched on; history.csv is written without one.

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


def attach_report(loggers: Iterable[Logger], report: Path) -> None:
    """Store report.html with the run in MLflow."""
    from lightning.pytorch.loggers import MLFlowLogger

    for logger in loggers:
        if isinstance(logger, MLFlowLogger) and logger.run_id is not None and report.is_file():
            logger.experiment.log_artifact(logger.run_id, str(report))


def _tensorboard(project: str, run: Run) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(run.folder, name="", version="tensorboard")


def _mlflow(project: str, run: Run) -> Logger:
    """One database for all runs, or the server that MLflow's own variable names."""
    from lightning.pytorch.loggers import MLFlowLogger

    OUTPUTS.mkdir(exist_ok=True)
    store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(OUTPUTS / 'mlflow.db').resolve()}"
    artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (OUTPUTS / "mlflow").resolve().as_uri()
    return MLFlowLogger(project, run_name=_name(run), tracking_uri=store, artifact_location=artifacts)


def _wandb(project: str, run: Run) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(project=project, name=_name(run), save_dir=run.folder)


def _name(run: Run) -> str:
    """The run's folder below outputs/, which says when it began; a folder elsewhere by its own name."""
    folder = run.folder.resolve()
    return str(folder.relative_to(OUTPUTS.resolve())) if folder.is_relative_to(OUTPUTS.resolve()) else folder.name
