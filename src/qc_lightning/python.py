"""The commands as functions: what `qc-lightning train` and `evaluate` do, called from Python."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run

T = TypeVar("T")


def fit(photos: str | os.PathLike[str] | None = None, *overrides: str, **settings: object) -> Run:
    """Train as `qc-lightning train` does, in this process.

    >>> run = fit("photos/", **{"optim.lr": 1e-3})  # doctest: +SKIP
    >>> run = fit("data=parts", "data.count=60", model="mlp")  # doctest: +SKIP

    Args:
        photos: a folder with one folder per class, or a manifest; trained with `experiment=recommended` unless a
            recipe or a network is named.
        overrides: settings as on the command line, `key=value`.
        settings: the same as keywords, dotted keys in a dictionary; None is null.

    Returns:
        The run; all its files are in its `folder`.

    Raises:
        UserError: a setting or the photos cannot be used; the message is one line.
    """
    from qc_lightning.config import TrainConfig
    from qc_lightning.config.record import RunRecord
    from qc_lightning.core.claim import claimed
    from qc_lightning.train import train

    words = _words(photos, overrides, settings)
    folder, config = _composed("train", words, TrainConfig)
    named = any(word.startswith("hydra.run.dir=") for word in words)
    record = RunRecord.from_config(config, "qc_lightning.fit", words)
    with claimed(folder, record.to_yaml(), named) as run:
        return train(config, run)


def evaluate_run(
    run: Run | str | os.PathLike[str], photos: str | os.PathLike[str] | None = None, *overrides: str, **settings: object
) -> dict[str, Any]:
    """Evaluate a run on labelled photos as `qc-lightning evaluate` does; nothing is written.

    >>> evaluate_run(run, "photos/")["test"]["escape_rate"]["value"]  # doctest: +SKIP
    0.02

    Args:
        run: a run or its folder.
        photos: a folder with one folder per class, or a manifest; None: the run's own test photos.
        overrides: settings as on the command line.
        settings: the same as keywords.

    Returns:
        The metrics, as in the metrics.json of an evaluation.

    Raises:
        UserError: as for the command.
    """
    from qc_lightning.config import EvaluateConfig
    from qc_lightning.evaluation.evaluate_run import evaluate_run as measured
    from qc_lightning.evaluation.evaluation_set import labelled_photos, trained_with
    from qc_lightning.evaluation.score import score
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.metrics.compute import finite

    run = run if isinstance(run, Run) else Run.open(os.fspath(run))
    words = _words(photos, overrides, {**settings, "run": run.folder})
    _, config = _composed("evaluate", words, EvaluateConfig)
    labelled = labelled_photos(run, config.data, config.subset)
    inspector = Inspector.load(run, config.device)
    metrics: dict[str, Any] = finite(
        measured(run, inspector, labelled, score(inspector, labelled, trained_with(run).batch_size))
    )
    return metrics


def _words(
    photos: str | os.PathLike[str] | None, overrides: Sequence[str], settings: Mapping[str, object]
) -> list[str]:
    """The arguments of the command as words of a command line."""
    path = [] if photos is None else [os.fspath(photos)]
    return [*path, *overrides, *(f"{key}={_text(value)}" for key, value in settings.items())]


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _composed(name: str, words: Sequence[str], schema: type[T]) -> tuple[Path, T]:
    """The default output folder and the settings of a command; Hydra's global state is left unchanged."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from qc_lightning.cli.arguments import hydra_arguments
    from qc_lightning.cli.commands import COMMANDS
    from qc_lightning.cli.compose import composed
    from qc_lightning.cli.errors import one_line
    from qc_lightning.config import parse

    try:
        cfg = composed(name, hydra_arguments(COMMANDS[name], words, front_door=True))
        folder = Path(cfg.hydra.runtime.output_dir)
        return folder, parse(cfg, schema)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error, name)) from error
    finally:
        HydraConfig.instance().cfg = None
