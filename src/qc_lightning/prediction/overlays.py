"""Pictures of rejected photos: where the evidence against each of them lies."""

from pathlib import Path

import torch

from qc_lightning.core.errors import UserError
from qc_lightning.data.decode import BadImage
from qc_lightning.explanation import explanations as explained
from qc_lightning.explanation import pictures as picture
from qc_lightning.explanation.heat import Heat
from qc_lightning.explanation.selection import Subject
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.prediction.sort import place_of
from qc_lightning.report import charts as plots


class Overlays:
    """Draws the photo, its heat and the outline of its hottest part, side by side.

    Args:
        inspector: the model.
        folder: holds the pictures; made when the first photo is rejected.
        root: the source's folder; a picture lies below `folder` as its photo below `root`.
    """

    def __init__(self, inspector: Inspector, folder: Path, root: Path) -> None:
        self._inspector, self._folder, self._root = inspector, folder, root
        self._heat = Heat(inspector.network, "auto")

    def put(self, path: Path, verdict: str) -> str:
        """Draw one photo unless it passed.

        Returns:
            Why there is no picture of it, empty when there is one or none is needed.

        Raises:
            UserError: memory is too small for it, or the folder cannot be written.
        """
        if verdict == Verdict.PASS:
            return ""
        try:
            (found,) = explained.explain_some(
                self._inspector, self._heat, [Subject(path, None, None)], "verdict", False
            )
            if found.error:
                return f"no overlay: {found.error}"
            target = self._folder / place_of(path, self._root)
            # added to the ending, not in its place: a.jpg and a.png are two photos
            plots.save(picture.sheet(found, self._inspector.class_names), target.with_name(f"{target.name}.png"))
        except BadImage as error:  # it has changed since it was inspected
            return f"no overlay: {error}"
        except torch.OutOfMemoryError as error:
            raise UserError(f"overlays: {path} does not fit into memory a second time: give overlays=false") from error
        except OSError as error:
            raise UserError(f"overlays: cannot write to {self._folder}: {error.strerror}; then resume=true") from error
        return ""
