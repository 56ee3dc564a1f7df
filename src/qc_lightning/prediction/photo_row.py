"""Turn an inspection into a photo's row."""

import math
from dataclasses import replace
from datetime import UTC, datetime

from qc_lightning.core.fingerprint import Stamp, sha256_of, stamp_of
from qc_lightning.data.catalog import path_text
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.validity import Certificate
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.prediction.rows import Row


def unless_changed(inspection: Inspection, before: Stamp | None) -> Inspection:
    """The inspection of a file; if the file has changed meanwhile, an inspection with that error.

    Args:
        inspection: result of a file.
        before: stamp of the file before it was read.
    """
    assert inspection.path is not None
    now = stamp_of(inspection.path)
    if now is None or now == before or sha256_of(inspection.path) == inspection.sha256:
        return inspection
    reason = "changed while it was inspected"
    inspection = replace(inspection, verdict=Verdict.REVIEW, sha256="", probability=None, logit=None, novelty=None)
    return replace(inspection, reason=reason, error=f"{reason}: resume=true inspects it again")


def row_of(
    inspection: Inspection, path: str, error: str, certificate: Certificate, camera: str = "", part: str = ""
) -> Row:
    """The row of a photo.

    Args:
        inspection: result of the photo.
        path: absolute path, or address in object storage.
        error: why the probability, a copy or a picture of the photo is missing; else empty.
        certificate: whether the certificate of the decision holds.
        camera: camera that took it; empty if unknown.
        part: the part that it shows; empty if unknown.
    """
    return Row(
        path=path_text(path),
        sha256=inspection.sha256 or None,
        probability=inspection.probability,
        verdict=inspection.verdict.value,
        seconds=round(inspection.seconds, 6),
        model_id=inspection.model_id,
        error=path_text(" ".join(error.split())) or None,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        threshold=inspection.threshold,
        logit=inspection.logit if inspection.logit is not None and math.isfinite(inspection.logit) else None,
        novelty=inspection.novelty,
        reason=inspection.reason or None,
        part=path_text(part) or None,
        camera=camera or None,
        certificate=certificate,
    )
