"""From an inspection to the photo's row."""

import math
from dataclasses import replace
from datetime import UTC, datetime

from qc_lightning.data.catalog import path_text
from qc_lightning.data.fingerprint import Stamp, sha256_of, stamp_of
from qc_lightning.inference.inspection import Inspection
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.prediction.rows import Row


def unless_changed(found: Inspection, before: Stamp | None) -> Inspection:
    """The inspection of a file, or, when the file is not the one any more that was inspected, that it has changed.

    Args:
        found: about a file.
        before: its stamp from before it was read.
    """
    assert found.path is not None
    now = stamp_of(found.path)
    if now is None or now == before or sha256_of(found.path) == found.sha256:
        return found
    reason = "changed while it was inspected"
    found = replace(found, verdict=Verdict.REVIEW, sha256="", probability=None, logit=None, novelty=None)
    return replace(found, reason=reason, error=f"{reason}: resume=true inspects it again")


def row_of(found: Inspection, path: str, error: str) -> Row:
    """The row of a photo.

    Args:
        found: about it.
        path: its absolute path or its address in object storage.
        error: why there is no probability, or no copy or picture of the photo; else empty.
    """
    return Row(
        path=path_text(path),
        sha256=found.sha256 or None,
        probability=found.probability,
        verdict=found.verdict.value,
        seconds=round(found.seconds, 6),
        model_id=found.model_id,
        error=path_text(" ".join(error.split())) or None,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        threshold=found.threshold,
        logit=found.logit if found.logit is not None and math.isfinite(found.logit) else None,
        novelty=found.novelty,
        reason=found.reason or None,
    )
