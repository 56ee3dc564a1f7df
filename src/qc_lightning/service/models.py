"""The models of a service: one, or several chosen by product and camera without a restart."""

import base64
import io
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.geometry import surrounded
from qc_lightning.inference import log_file, log_queries
from qc_lightning.inference.drift import REMEMBERED, DriftMonitor, in_words
from qc_lightning.inference.escapes import Claim, EscapeMonitor, stopped_elsewhere
from qc_lightning.inference.escapes import replayed as escapes_in
from qc_lightning.inference.export_metadata import EVIDENCE
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspection import CameraPhoto, Inspection, PhotoLike, decode_photo
from qc_lightning.inference.log_entry import Entry, Row
from qc_lightning.inference.validity import Certificate, certificate_status

Key = tuple[str, str]
"""Product and camera; an empty text matches any."""


class ServedModel:
    """One serving model.

    Args:
        inspector: the exported model.
        name: name of the model in alarms; empty for the only model.
        log: file of the verdict log; None for no log.

    Attributes:
        inspector: as given.
        name: as given.
        record: digest of the model's record in the log; empty without a log.
        drift: drift monitor; None if the model has no reference.
        escapes: monitor of the escape rate, by spot checks.
    """

    def __init__(self, inspector: ExportedInspector, name: str, log: Path | None) -> None:
        self.inspector, self.name, self.record = inspector, name, ""
        self.drift = DriftMonitor(inspector.reference) if inspector.reference else None
        self.escapes = EscapeMonitor(Claim.from_decision(inspector.metadata.decision))
        self._lock = threading.Lock()
        if log is None:
            return
        record = {"metadata": json.loads(inspector.metadata.to_json()), "drift": inspector.drift}
        self.record = log_file.register(log, json.dumps(record, ensure_ascii=False, sort_keys=True))
        if self.drift:  # the state before this start
            for row, measures, rejected in log_queries.measured(log, self.record, REMEMBERED):
                self.drift.add(row, measures, rejected)
        self.escapes = escapes_in(log, self.record, inspector.metadata.decision)

    @property
    def certificate(self) -> Certificate:
        """Status of the decision's certificate; spot checks can void it."""
        status = certificate_status(self.inspector)
        return "void" if status == "holds" and self.escapes.trouble else status

    @property
    def alarms(self) -> dict[str, str]:
        """Alarm texts by topic and model name."""
        troubles = in_words(self.drift.crossings) if self.drift else {}
        troubles |= {"certificate": self.escapes.trouble} if self.escapes.trouble else {}
        if not self.name:
            return troubles
        return {f"{about} {self.name}": f"{self.name}: {words}" for about, words in troubles.items()}

    def entry(self, result: Inspection, part: str, source: str, milliseconds: float) -> Entry:
        """The log entry of a result."""
        decision = str(self.inspector.metadata.decision.get("digest", ""))
        return Entry.inspected(result, part, source, self.record, decision, milliseconds)

    def watch(self, entry: Entry, number: int | None) -> None:
        """Add an inspection and its row number to the drift monitor; None without a log."""
        if self.drift and entry.measures:
            with self._lock:
                self.drift.add(number or self.drift.photos + 1, *log_queries.read_measures(entry))

    def judged(self, inspected: Row, said: Row, log: Path) -> None:
        """Add a person's verdict on a spot check to the escape monitor.

        Args:
            inspected: row of the inspection.
            said: row of the person's verdict.
            log: file of the log.
        """
        with self._lock:
            self.escapes.add(inspected, said, stopped_elsewhere(log, inspected))

    def evidence(self, photo: PhotoLike) -> str | None:
        """The evidence map, a PNG in base64: white is the strongest evidence for Incorrect; None without a map."""
        decode = self.inspector.decode.at(photo.camera) if isinstance(photo, CameraPhoto) else self.inspector.decode
        pixels = decode_photo(photo, decode).pixels
        if pixels is None or EVIDENCE not in self.inspector.outputs:
            return None
        heat = np.maximum(self.inspector.run(pixels[None], EVIDENCE)[0][0], 0)
        grey = surrounded((255 * heat / max(float(heat.max()), 1e-12)).astype(np.uint8), decode.roi)
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


class Models:
    """All models, and the product in force.

    Args:
        inspectors: by product and camera, the result of `model_files.load_inspectors`.
        log: file of the verdict log; the product in force is stored next to it. None: not stored.

    Attributes:
        table: each model by product and camera.
        product: the product in force, used for photos without one; empty if there is none.
    """

    def __init__(self, inspectors: Mapping[Key, ExportedInspector], log: Path | None) -> None:
        served: dict[int, ServedModel] = {}
        for key, inspector in inspectors.items():
            if id(inspector) not in served:
                served[id(inspector)] = ServedModel(inspector, " ".join(filter(None, key)), log)
        self.table = {key: served[id(inspector)] for key, inspector in inspectors.items()}
        self._file = log.with_name(f"{log.stem}_product") if log else None
        stored = self._file.read_text(encoding="utf-8") if self._file and self._file.is_file() else ""
        self.product = stored if stored in self.products else ""

    @property
    def all(self) -> list[ServedModel]:
        """Each model once."""
        return list(dict.fromkeys(self.table.values()))

    @property
    def products(self) -> list[str]:
        """The products in the table, in its order."""
        return list(dict.fromkeys(product for product, _ in self.table if product))

    @property
    def class_names(self) -> tuple[str, str]:
        """The class names shown to people: the models' names if all agree."""
        names = {model.inspector.class_names for model in self.all}
        return names.pop() if len(names) == 1 else ("Correct", "Incorrect")

    def choose(self, product: str = "", camera: str = "") -> ServedModel:
        """The model for a photo; a table row with a product or camera takes precedence over one without.

        Args:
            product: product of the photo; empty: the product in force.
            camera: name of the camera; empty if unknown.

        Raises:
            UserError: the table has no model for these.
        """
        product = product or self.product
        for key in ((product, camera), (product, ""), ("", camera), ("", "")):
            if key in self.table:
                return self.table[key]
        if product in self.products:
            cameras = ", ".join(name for one, name in self.table if one in (product, ""))
            raise UserError(f"camera: expected one of {cameras} for product {product}, got '{camera}'")
        raise UserError(f"product: expected one of {', '.join(self.products)}, got '{product}'")

    def judged(self, inspected: Row, said: Row, log: Path) -> None:
        """Add a person's verdict to the monitor of the model that inspected; arguments as for `ServedModel.judged`."""
        for model in self.all:
            if model.record == inspected.entry.model:
                model.judged(inspected, said, log)

    def change_over(self, product: str) -> None:
        """Change the product in force, also across restarts.

        Raises:
            UserError: the product is not in the table, or cannot be stored next to the log.
        """
        if product not in self.products:
            raise UserError(f"product: expected one of {', '.join(self.products) or 'none'}, got '{product}'")
        if self._file:
            try:
                with replacing(self._file) as temporary:
                    temporary.write_text(product, encoding="utf-8")
            except OSError as error:
                raise UserError(f"product: cannot write {self._file} ({error.strerror})") from error
        self.product = product
