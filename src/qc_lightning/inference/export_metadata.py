"""Metadata of an exported inspector, and the names of its graph's inputs and outputs."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from qc_lightning.data.decoding.decode_settings import DecodeSettings

METADATA, GOLDEN, DRIFT = "qc_lightning", "qc_lightning.golden", "qc_lightning.drift"
"""Keys of the metadata, each with a JSON text; `DRIFT`, the reference of the training, is there when a run has one."""

PIXELS, PROBABILITY, LOGIT = "pixels", "probability", "logit"
FEATURES, NOVELTY, EVIDENCE = "features", "novelty", "evidence"
"""Names of the graph's input and outputs; the last three are there where the network has them."""

WITH_EVIDENCE = "with_evidence"
"""Name of an optional input, a boolean: without it the evidence is not computed, and its output is empty."""


@dataclass(frozen=True)
class ExportMetadata:
    """Metadata of an exported inspector.

    Attributes:
        model_id: first 12 digits of the SHA-256 over the weights, as in the run.
        class_names: the user's names for Correct and Incorrect.
        decode: settings that turn a file into the graph's input, uint8 [3, H, W].
        decision: the decision record in force at the export, as in decision.json.
        release: version of qc-lightning that exported it.
        doubt: why the run, by its own metrics, cannot tell the classes apart; empty if it can.
    """

    model_id: str
    class_names: tuple[str, str]
    decode: DecodeSettings
    decision: dict[str, Any]
    release: str
    doubt: str = ""

    def to_json(self) -> str:
        """The metadata as JSON text."""
        content = asdict(self) | {"decode": self.decode.plain()}
        return json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ExportMetadata":
        """Read back `to_json`."""
        stored = json.loads(text)
        correct, incorrect = stored.pop("class_names")
        return cls(decode=DecodeSettings(**stored.pop("decode")), class_names=(correct, incorrect), **stored)
