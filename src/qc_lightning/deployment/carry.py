"""Carry a run's certificate over to its export, if every qualification photo keeps its verdict."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qc_lightning.core.bars import Progress
from qc_lightning.core.fingerprint import sha256_of
from qc_lightning.core.system import now
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.golden import TOLERANCE
from qc_lightning.inference.inspection import CameraPhoto
from qc_lightning.inference.validity import void_because
from qc_lightning.metrics.decision import Decision


def carry(certificate: Mapping[str, Any], exported: ExportedInspector) -> dict[str, Any]:
    """The certificate for the export.

    Args:
        certificate: certificate of the decision in force, from decision.json.
        exported: the export with that decision.

    Returns:
        The certificate with the number of its photos instead of the photos, and "carried": number of photos, logit gap
        and time of the check; or {"void": reason} if it does not hold for the export.
    """
    reason = void_because(certificate, exported.model_id, exported.decode.plain())
    if reason:
        return {"void": reason}
    photos = certificate["photos"]
    paths = [Path(photo.get("path") or "") for photo in photos]
    gone = [path for path, photo in zip(paths, photos, strict=True) if sha256_of(path) != photo["sha256"]]
    if gone:
        example = f", for example {gone[0]}" if gone[0].name else ""
        return {"void": f"{len(gone)} of {len(photos)} qualification photos are gone or have changed{example}"}
    seen = [CameraPhoto(path, photo.get("camera") or "") for path, photo in zip(paths, photos, strict=True)]
    inspections = Progress(
        exported.inspect_files(seen), "qualification photos as exported", len(paths), unit="photo", delay=1.0
    )
    results = [(result.logit, result.novelty) for result in inspections]
    changed, gap = _changed(photos, results, exported.decision)
    if changed:
        path = paths[changed[0]]
        return {"void": f"{len(changed)} of {len(photos)} qualification photos get another verdict, such as {path}"}
    if gap > TOLERANCE:
        return {"void": f"logits of qualification photos differ by up to {gap:.2g}, more than {TOLERANCE:g}"}
    how = exported.backend | {"release": version("onnxruntime")}
    kept = {key: value for key, value in certificate.items() if key != "photos"}
    return kept | {"photos": len(photos), "carried": {"photos": len(photos), "logit_gap": gap, "when": now()} | how}


def _changed(
    photos: Sequence[Mapping[str, Any]], results: Sequence[tuple[float | None, float | None]], decision: Decision
) -> tuple[list[int], float]:
    """Indices of photos whose verdict differs from the recorded one, and the largest difference of a logit."""
    before, novelty = ([photo.get(key) for photo in photos] for key in ("logit", "novelty"))
    after = [logit for logit, _ in results]
    measured = None not in novelty
    verdicts = [
        decision.verdicts(1 / (1 + np.exp(-_numbers(logit))), _numbers(distance) if measured else None)
        for logit, distance in ((before, novelty), (after, [distance for _, distance in results]))
    ]
    gap = np.abs(_numbers(before) - _numbers(after))
    return np.flatnonzero(verdicts[0] != verdicts[1]).tolist(), float(np.where(np.isfinite(gap), gap, np.inf).max())


def _numbers(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def in_words(carried: Mapping[str, Any]) -> str:
    """One line on whether the certificate was carried over.

    Args:
        carried: result of `carry`.
    """
    if "void" in carried:
        return f"WARNING: the certificate is void for the export: {carried['void']}"
    return f"certificate: holds for the export, all {carried['photos']} qualification photos keep their verdicts"
