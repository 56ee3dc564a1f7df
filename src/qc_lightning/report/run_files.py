"""Read the files of a run folder for the report: a missing file is empty, a damaged one an error."""

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qc_lightning.config.model import PRETRAINED_MODES
from qc_lightning.config.record import RunRecord
from qc_lightning.core.atomic import read_json
from qc_lightning.core.csv_files import read_table
from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import RECORD, read_text
from qc_lightning.core.run import Run
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.record import DecisionFile, DecisionRecord


def metrics_of(run: Path) -> dict[str, Any]:
    """metrics.json.

    Raises:
        UserError: it is missing (the run has not finished) or damaged.
    """
    metrics = json_of(run / "metrics.json")
    if not metrics:
        raise UserError(
            f"expected a finished run with a readable metrics.json in it, got {run}: train or evaluate first"
        )
    return metrics


def decisions_of(run: Path, model_id: str) -> list[DecisionRecord]:
    """The decisions of the run, newest last."""
    path = Run(run).decisions
    return list(DecisionFile.read(path, model_id, None).records) if path.is_file() else []


def text_of(path: Path) -> str:
    """The text of a file, empty if it is missing."""
    return read_text(path, RECORD, errors="replace") if os.path.lexists(path) else ""


def json_of(path: Path) -> dict[str, Any]:
    """The content of a JSON file, empty if it is missing; raises UserError if it is damaged."""
    return read_json(path) if os.path.lexists(path) else {}


def results_of(
    run: Path, metrics: Mapping[str, Any], decision: Decision | None
) -> tuple[dict[str, dict[str, Any] | None], list[str]]:
    """What `explain` and `robustness` measured on the run's model.

    Args:
        run: the run folder.
        metrics: its metrics.json, which names the model.
        decision: the decision in force; None for runs of releases without a record of it.

    Returns:
        The content of their files by command, empty if there is none and None if it is of an earlier model, as after a
        resumed training, or its verdicts are by another decision; and a warning for each of these.
    """
    results: dict[str, dict[str, Any] | None] = {}
    warnings = []
    in_force = {} if decision is None else decision.to_dict()
    for command, name in (("explain", "explanations/explain.json"), ("robustness", "robustness.json")):
        results[command] = content = json_of(run / name)
        if content.get("model_id", metrics.get("model_id")) != metrics.get("model_id"):
            other = "an earlier model"
        elif any(content.get(key, value) != value for key, value in in_force.items()):
            other = "another decision"
        else:
            continue
        results[command] = None
        again = f"qc-lightning {command} {Run(run).argument}"
        warnings.append(f"{name} is of {other} and not shown; for this one: {again}")
    return results, warnings


def table_of(path: Path) -> list[dict[str, str]]:
    """Rows of a table, none if it is missing; file names keep bytes that are not UTF-8."""
    try:
        return read_table(path, errors="surrogateescape")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}): restore it or train again") from error


def number(text: str | None) -> float | None:
    """The finite number in a cell, None if there is none."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def record_of(run: Path) -> RunRecord | None:
    """The run's record; None for runs of releases without records."""
    return RunRecord.read(Run(run)) if Run(run).record.is_file() else None


def data_settings(record: RunRecord | None) -> tuple[Mapping[str, Any], list[Path], bool]:
    """The config's data part, the folders that relative paths may start from, and whether the model is pretrained."""
    if record is None:
        return {}, [Path()], False
    data = record.settings.get("data")
    config = data if isinstance(data, Mapping) else {}
    model = record.settings.get("model")
    pretrained = isinstance(model, Mapping) and model.get("mode") in PRETRAINED_MODES
    directory = Path(record.directory)
    return config, [directory / str(config.get("root") or "."), directory], pretrained
