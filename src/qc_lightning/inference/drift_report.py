"""Report of the drift in a log."""

import json
import shlex
from pathlib import Path
from typing import NamedTuple

from qc_lightning.core.errors import UserError
from qc_lightning.inference import escapes, log_file
from qc_lightning.inference.drift import EVERY, MIX, DriftMonitor, Reference
from qc_lightning.inference.escapes import EscapeMonitor
from qc_lightning.inference.log_queries import measured, models_of


class Report(NamedTuple):
    """Monitors that have seen all photos and spot checks of one model of a log.

    Attributes:
        model_id: id of the model.
        monitor: of its photos; None if it has no reference for drift.
        escapes: of its spot checks.
        others: the other models of the log, in words.
    """

    model_id: str
    monitor: DriftMonitor | None
    escapes: EscapeMonitor
    others: list[str]


def replayed(log: Path, model_id: str | None = None) -> Report:
    """Feed the monitors with the rows of a model.

    Args:
        log: file of the log.
        model_id: id of the model; None: the one that inspected last.

    Raises:
        UserError: the log cannot be read, it has no such model, or the model has neither a reference for drift nor bad
            parts of spot checks.
    """
    models = models_of(log)
    nothing = UserError(f"{log}: expected photos measured for drift, got none: export the run again, serve that file")
    if not models:
        raise nothing
    chosen = next((one for one in models if model_id in (None, one[1])), None)
    if chosen is None:
        raise UserError(f"model: expected one of {', '.join(dict.fromkeys(one[1] for one in models))}, got {model_id}")
    command = f"qc-lightning drift {shlex.quote(str(log))}"
    others = [
        f"model {name} has {photos} photos too, up to row {row}: {command} model={name}"
        for _, name, photos, row in models
        if name != chosen[1]
    ]
    model = chosen[0]
    record = json.loads(log_file.model_records(log)[model])
    try:
        seen = escapes.replayed(log, model, record["metadata"]["decision"])
        if record["drift"] is None and not seen.bad:
            raise nothing
        monitor = DriftMonitor(Reference.from_json(record["drift"])) if record["drift"] else None
        if monitor:
            for row, measures, rejected in measured(log, model):
                monitor.add(row, measures, rejected)
        return Report(chosen[1], monitor, seen, others)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{log}: expected a reference and measures for drift, cannot read them ({error!r})") from error


def table(monitor: DriftMonitor) -> str:
    """A line for each statistic: value and limit of the comparison closest to it, and the first row beyond."""
    if not monitor.largest:
        return f"nothing was compared yet: that takes {EVERY} photos"
    lines = [f"{'statistic':16}{'value':>8}{'limit':>8}{'photos':>8}  first row beyond"]
    for name in (*monitor.reference.names, MIX):
        one, first = monitor.largest[name], monitor.first.get(name)
        lines.append(f"{name:16}{one.value:8.3f}{one.limit:8.3f}{one.photos:8d}  {first.row if first else '-'}")
    camera = any(name != MIX for name in monitor.first)
    if camera:
        lines.append("ALARM: the photos have changed: check camera, light, lens and product")
    if MIX in monitor.first:
        lines.append("ALARM: the mix has changed: the fraction of rejected parts has changed")
    if not monitor.first:
        lines.append("nothing has changed beyond chance")
    return "\n".join(lines)
