"""The answer to a client."""

from dataclasses import fields

from pydantic import BaseModel

from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.validity import Certificate
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.models import ServedModel


class Answer(BaseModel):
    """The result of one photo."""

    verdict: Verdict
    probability: float | None
    logit: float | None
    threshold: float
    novelty: float | None
    reason: str
    error: str
    sha256: str
    part: str
    camera: str
    model_id: str
    certificate: Certificate
    milliseconds: float
    row: int | None = None
    evidence: str | None = None

    @classmethod
    def from_result(
        cls,
        model: ServedModel,
        result: Inspection,
        part: str,
        camera: str,
        milliseconds: float,
        row: int | None,
        evidence: str | None = None,
    ) -> "Answer":
        """The answer for a result.

        Args:
            model: the model that inspected the photo.
            result: the inspection, with the verdict sent to the line.
            part: number of the part.
            camera: name of the camera.
            milliseconds: from the photo's arrival, or the trigger, to the row.
            row: number of the log row; None without a log.
            evidence: the evidence map, a PNG in base64.
        """
        same = (field.name for field in fields(result) if field.name in cls.model_fields)
        return cls(
            **{name: getattr(result, name) for name in same},
            part=part,
            camera=camera,
            certificate=model.certificate,
            milliseconds=round(milliseconds, 3),
            row=row,
            evidence=evidence,
        )
