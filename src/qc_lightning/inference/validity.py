"""Check whether a certificate holds for the running model, and whether an export is up to date."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qc_lightning.core.atomic import read_json
from qc_lightning.core.errors import UserError
from qc_lightning.core.release import all_releases
from qc_lightning.core.run import Run
from qc_lightning.metrics.record import DecisionFile

if TYPE_CHECKING:
    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.inference.inspector import Inspector

Certificate = Literal["none", "holds", "void"]
"""Whether the certificate of the decision in force holds for the running model."""


def void_because(
    certificate: Mapping[str, Any], model_id: str, decode: Mapping[str, Any], backend: Mapping[str, str] | None = None
) -> str:
    """Why a certificate does not hold for the running model, in words; empty if it does.

    Args:
        certificate: certificate from decision.json or from an export.
        model_id: id of the running model.
        decode: its decode settings, as plain data.
        backend: "backend", "precision" and "device"; only the kind of device counts. None: not known yet.
    """
    if "void" in certificate:  # result of the export
        return str(certificate["void"])
    if certificate.get("model_id") != model_id:
        return f"it is of the model {certificate.get('model_id')}, this is {model_id}"
    certified = certificate.get("decode") or {}
    other = sorted(key for key in {*certified, *decode} if certified.get(key) != decode.get(key))
    if other:
        return "photos are decoded otherwise than when it was made: " + ", ".join(
            f"{key} {decode.get(key)}, then {certified.get(key)}" for key in other
        )
    made = certificate.get("carried") or certificate
    for what, now_ in (backend or {}).items():
        then = str(made.get(what))
        if then.partition(":")[0] != now_.partition(":")[0]:
            return f"it was made with {what} {then}, this is {now_}"
    return ""


def certificate_status(inspector: "Inspector | ExportedInspector", device: str | None = None) -> Certificate:
    """Whether the certificate in force holds for the running model.

    Args:
        inspector: the model.
        device: device that it will use, if not the current one.
    """
    return (
        "none"
        if inspector.certificate is None
        else "void"
        if _void_here(inspector, inspector.certificate, device)
        else "holds"
    )


def certificate_line(inspector: "Inspector | ExportedInspector", device: str | None = None) -> str:
    """One line on whether the certificate in force holds for the running model; empty without a certificate.

    Args:
        inspector: the model.
        device: device that it will use, if not the current one.
    """
    certificate = inspector.certificate
    if certificate is None:
        return ""
    if void := _void_here(inspector, certificate, device):
        return f"WARNING: the certificate is void here: {void}; certify again"
    claims = " and ".join(f"{claim['kind']} rate at most {100 * claim['rate']:.4g}%" for claim in certificate["claims"])
    together = " together" if certificate["together"] and len(certificate["claims"]) > 1 else ""
    return f"certificate: {claims} at {100 * certificate['confidence']:.4g}% confidence{together}, one-sided exact"


def _void_here(inspector: "Inspector | ExportedInspector", certificate: Mapping[str, Any], device: str | None) -> str:
    backend = {**inspector.backend, **({"device": device} if device else {})}
    return void_because(certificate, inspector.model_id, inspector.decode.plain(), backend)


def run_to_serve(where: str | None) -> Run:
    """The named run, by default the only release; unlike `Run.open`, never the newest run, which may be an experiment.

    Raises:
        UserError: there is none.
    """
    if where is None and not all_releases():
        raise UserError("run: there is no release to serve: give model=inspector.onnx or run=<folder>")
    return Run.open(where)


def outdated(path: Path, run: Run) -> str:
    """Why a run's export is outdated; empty if it is not.

    Args:
        path: path of the export, which may be missing.
        run: the run that it was exported from.
    """
    from qc_lightning.inference.exported import ExportedInspector

    if not path.is_file():
        return "it is not there yet"
    if not run.decisions.is_file():
        return ""
    inspector = ExportedInspector.load(path)
    if read_json(run.decisions).get("model_id", inspector.model_id) != inspector.model_id:
        return "it was exported before the model was trained again"
    decisions = DecisionFile.read(run.decisions, inspector.model_id, None)
    exported = inspector.metadata.decision.get("digest")
    return "" if exported == decisions.digest(decisions.named(run)) else "another decision is in force since"
