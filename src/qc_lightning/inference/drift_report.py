"""Report of the drift in a log."""

import json
from pathlib import Path

from qc_lightning.core.errors import UserError
from qc_lightning.inference import escapes, log_file
from qc_lightning.inference.drift import MIX, DriftMonitor, Reference
from qc_lightning.inference.escapes import EscapeMonitor
from qc_lightning.inference.log_queries import measured, newest_model


def replayed(log: Path) -> tuple[DriftMonitor | None, EscapeMonitor, str]:
    """Monitors fed with all photos and spot checks of the newest model of a log, and the model's id.

    Returns:
        The first is None if the model has no reference for drift.

    Raises:
        UserError: the log cannot be read, or its newest model has neither a reference for drift nor bad parts of spot
            checks.
    """
    model = newest_model(log)
    nothing = UserError(f"{log}: expected photos measured for drift, got none: export the run again, serve that file")
    if model is None:
        raise nothing
    record = json.loads(log_file.model_records(log)[model])
    try:
        seen = escapes.replayed(log, model, record["metadata"]["decision"])
        if record["drift"] is None and not seen.bad:
            raise nothing
        monitor = DriftMonitor(Reference.from_json(record["drift"])) if record["drift"] else None
        if monitor:
            for row, measures, rejected in measured(log, model):
                monitor.add(row, measures, rejected)
        return monitor, seen, str(record["metadata"]["model_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{log}: expected a reference and measures for drift, cannot read them ({error!r})") from error


def table(monitor: DriftMonitor) -> str:
    """A line for each statistic: value and limit of the comparison closest to it, and the first row beyond."""
    lines = [f"{'statistic':16}{'value':>8}{'limit':>8}{'photos':>8}  first row beyond"]
    for name in (*monitor.reference.names, MIX):
        one, first = monitor.largest.get(name), monitor.first.get(name)
        if one is None:
            lines.append(f"{name:16}{'too few photos':>24}")
            continue
        lines.append(f"{name:16}{one.value:8.3f}{one.limit:8.3f}{one.photos:8d}  {first.row if first else '-'}")
    camera = any(name != MIX for name in monitor.first)
    if camera:
        lines.append("ALARM: the photos have changed: check camera, light, lens and product")
    if MIX in monitor.first:
        lines.append("ALARM: the mix has changed: the fraction of rejected parts has changed")
    return "\n".join(lines if monitor.first else [*lines, "nothing has changed beyond chance"])
