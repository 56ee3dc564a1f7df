"""Export a run: translate the network, add metadata, check the result, and write the file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from qc_lightning.core.atomic import replacing
from qc_lightning.core.bars import Progress
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import decode
from qc_lightning.data.photo import Photo
from qc_lightning.deployment.carry import carry, in_words
from qc_lightning.deployment.drift_reference import drift_reference
from qc_lightning.deployment.gate import GateResult, pass_gate
from qc_lightning.deployment.onnx_model import add_metadata, to_onnx
from qc_lightning.deployment.photos import golden_places
from qc_lightning.evaluation.evaluation_set import verified
from qc_lightning.inference.export_metadata import DRIFT, GOLDEN, METADATA, ExportMetadata
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.golden import Golden
from qc_lightning.inference.inspection import CameraPhoto, Inspection
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.sealed_file import seal
from qc_lightning.inference.stream import Stream
from qc_lightning.metrics.record import DecisionFile

_BATCH = 16


def decision_record(run: Run, inspector: Inspector) -> dict[str, Any]:
    """The decision in force as decision.json has it, with digest and certificate; without that file the model's own.

    Raises:
        UserError: the file is damaged.
    """
    if not run.decisions.is_file():
        return inspector.decision.to_dict()
    decisions = DecisionFile.read(run.decisions, inspector.model_id, inspector.decision)
    record = decisions.named(run)
    return record.content() | {"source": record.decision.source, "digest": decisions.digest(record)}


def export_inspector(
    inspector: Inspector,
    decision: Mapping[str, Any],
    photos: Sequence[Photo],
    output: Path,
    others: Sequence[Photo] = (),
    doubt: str = "",
) -> GateResult:
    """Write an inspector as one .onnx file after it has passed the checks.

    Args:
        inspector: inspector of the run, on the CPU.
        decision: the record in force, a result of `decision_record`.
        photos: photos of the run to check the export on; some are stored in it as golden inputs.
        output: the file, which is written atomically.
        others: more photos of the run for the drift reference; without training photos there is no reference.
        doubt: why the run, by its own metrics, cannot tell the classes apart; empty if it can.

    Raises:
        UserError: a photo cannot be read or has changed, the network cannot be translated, or the export differs from
            the run.
    """
    if inspector.decision.novelty is not None and inspector.novelty is None:
        raise UserError("not exported: the decision limits novelty, which this run does not measure; decide without")
    model = to_onnx(inspector.network, inspector.novelty, inspector.decode.shape)
    before = _inspect(inspector, photos)
    logit = np.array([inspection.logit for inspection in before], np.float32)
    places = golden_places(logit, inspector.decode.shape)
    pixels = np.stack([decode(photos[place].path, inspector.decode.at(photos[place].camera)) for place in places])
    golden = json.dumps(Golden(pixels, logit[places]).to_dict(), allow_nan=False)

    drift: dict[str, str] = {}

    def sealed(certificate: Mapping[str, Any] | None) -> bytes:
        what = (inspector.model_id, inspector.class_names, inspector.decode)
        metadata = ExportMetadata(*what, {**decision, "certificate": certificate}, version("qc-lightning"), doubt)
        add_metadata(model, {METADATA: metadata.to_json(), GOLDEN: golden, **drift})
        return seal(model.SerializeToString(deterministic=True))

    with replacing(output) as temporary:
        temporary.write_bytes(sealed(None))
        exported = ExportedInspector.load(temporary, threads=1)
        exported.verify_golden()
        reference = drift_reference(exported, [*photos, *others])
        if reference is not None:
            drift[DRIFT] = reference.to_json()
            temporary.write_bytes(sealed(None))
            exported = ExportedInspector.load(temporary, threads=1)
        after = exported.inspect_files(map(CameraPhoto.of, photos))
        bar = Progress(after, "inspecting as exported", len(photos), unit="photo", delay=1.0)
        result = pass_gate(before, list(bar), inspector.decision)
        if certificate := decision.get("certificate"):
            carried = carry(certificate, exported)
            temporary.write_bytes(sealed(carried))
            result = replace(result, certificate=in_words(carried))
    return result


def _inspect(inspector: Inspector, photos: Sequence[Photo]) -> list[Inspection]:
    """Inspect the photos with the run's network; each must be readable and have its recorded bytes."""
    results: list[Inspection] = []
    with (
        Stream(inspector, _BATCH) as stream,
        Progress(desc="inspecting as trained", total=len(photos), unit="photo", delay=1.0) as bar,
    ):
        for batch in stream.inspect(map(CameraPhoto.of, photos)):
            for inspection, photo in zip(batch, photos[len(results) :], strict=False):
                verified(photo, inspection.sha256, inspection.error, own=True)
            results += batch
            bar.update(len(batch))
    broken = next((inspection for inspection in results if inspection.probability is None), None)
    if broken:
        raise UserError(f"not exported: the run's network gives no finite number for {broken.path}")
    return results
