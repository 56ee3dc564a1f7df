"""Draw rejected photos with the evidence against them."""

import os
from pathlib import Path

import torch

from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import BadImage
from qc_lightning.explanation import pictures
from qc_lightning.explanation.explanations import explain_some
from qc_lightning.explanation.heat import Heat
from qc_lightning.explanation.selection import Subject
from qc_lightning.inference.inspection import CameraPhoto
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.prediction.sort import NAME_ERRORS, place_of
from qc_lightning.report import charts


class Overlays:
    """Draws the photo, its heat and the outline of its hottest part, side by side.

    Args:
        inspector: the model.
        folder: folder of the pictures, created for the first rejected photo.
        root: the source's folder; the folders below it are repeated below `folder`.
    """

    def __init__(self, inspector: Inspector, folder: Path, root: Path) -> None:
        self._inspector, self._folder, self._root = inspector, folder, root
        self._heat = Heat(inspector.network, "auto")

    def put(self, subject: CameraPhoto, verdict: str, sha256: str) -> str:
        """Draw one photo; if it passed, remove its earlier picture instead.

        Args:
            subject: a file, by its absolute path.
            verdict: verdict of the photo.
            sha256: digest of the inspected bytes, hex.

        Returns:
            Why the picture is missing; empty if it exists or none is needed.

        Raises:
            UserError: memory is too small, or the folder cannot be written.
        """
        path = subject.path
        place = place_of(path, self._root)
        # appended to the extension, since a.jpg and a.png are different photos
        target = self._folder / place.with_name(f"{place.name}.png")
        try:
            if verdict == Verdict.PASS:
                target.unlink(missing_ok=True)
                return ""
            (explanation,) = explain_some(
                self._inspector, self._heat, [Subject(path, None, None, subject.camera)], "verdict", False
            )
            if explanation.error:
                return f"no overlay: {explanation.error}"
            if explanation.sha256 != sha256:
                return "no overlay: changed since it was inspected"
            charts.save(pictures.sheet(explanation, self._inspector.class_names), target)
        except BadImage as error:  # it has changed since it was inspected
            return f"no overlay: {error}"
        except torch.OutOfMemoryError as error:
            raise UserError(f"overlays: {path} does not fit into memory a second time: give overlays=false") from error
        except UnicodeError:
            return "no overlay: its name is not UTF-8"
        except OSError as error:
            if error.errno in NAME_ERRORS:
                return f"no overlay: {os.strerror(error.errno).lower()}"
            raise UserError(f"overlays: cannot write to {self._folder}: {error.strerror}; then resume=true") from error
        return ""
