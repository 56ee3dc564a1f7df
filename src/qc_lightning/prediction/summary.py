"""What a prediction prints: the model at its start, the verdicts at its end."""

import sys
from collections import Counter
from typing import TYPE_CHECKING

from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.inference.validity import certificate_line
from qc_lightning.metrics.go_live import doubt_of
from qc_lightning.prediction.model import Model
from qc_lightning.prediction.output import Written

if TYPE_CHECKING:  # they need torch or onnxruntime
    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.inference.inspector import Inspector


def check_rows(model: Model, inspector: "Inspector | ExportedInspector", output: object, written: Written) -> None:
    """Refuse to add rows to those of another model, and warn about rows by another threshold: they stay as they are.

    Args:
        model: as the user named it.
        inspector: that model.
        output: where its rows go.
        written: the existing rows.

    Raises:
        UserError: there are rows of another model.
    """
    if models := written.models - {inspector.model_id}:
        raise UserError(
            f"{output} holds verdicts of model {min(models)}, {model} is {inspector.model_id}: "
            "give that model's run=, or another output="
        )
    threshold = inspector.decision.threshold
    if others := written.thresholds - {threshold}:
        print(
            f"WARNING: {output} has verdicts by the threshold {min(others):g}, which stay; the decision in force has "
            f"{threshold:g}: for its verdicts on all photos give another output="
        )


def announce(model: Model, inspector: "Inspector | ExportedInspector", work: object, device: str | None = None) -> None:
    """Print the model, any doubt about it, and whether its certificate holds.

    Args:
        model: as the user named it.
        inspector: that model.
        work: the photos or the cluster, in words.
        device: where a run's network will work, if not where it is now.
    """
    if isinstance(model, Run) and (why := doubt_of(model)):
        print(f"WARNING: {why}")
    print(f"{model}: model {inspector.model_id}, threshold {inspector.decision.threshold:g}; {work}")
    if words := certificate_line(inspector, device if isinstance(model, Run) else None):
        print(words)


def summarise(
    output: object, counts: Counter[str], done: int, total: int | None, stop: StopRequest, unsettled: int = 0
) -> int:
    """Print the verdicts and what is missing; return the exit code.

    Args:
        output: where the rows are.
        counts: rows by verdict, and those with an error as `error`.
        done: photos with a row.
        total: photos that get one; None while watching, where the number is unknown.
        stop: the stop request, whose signal is set if the prediction ended early.
        unsettled: files of a watched folder that were still changing.
    """
    verdicts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if name != "error")
    print(f"{output}: {verdicts or 'no verdict'}")
    if total is not None and done < total:
        print(f"stopped: {done} of {total} photos are done, resume=true continues", file=sys.stderr)
        return 128 + stop.signal
    if unsettled:
        print(f"still on their way and without a row: {unsettled}; resume=true continues", file=sys.stderr)
    if errors := counts["error"]:
        print(f"photos with an error: {errors}; the column error says which", file=sys.stderr)
    return 3 if errors else 0
