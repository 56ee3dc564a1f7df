"""The model of a prediction: a run's, or an exported one."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from qc_lightning.core.run import Run
from qc_lightning.metrics.verdict import Verdict

if TYPE_CHECKING:  # they need torch or onnxruntime
    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.inference.inspector import Inspector

Model = Run | Path
"""A run, or the .onnx file of an exported inspector."""

ADVICE = "give camera=, or as source a .csv with the columns path and camera"
"""Advice when the camera of the photos is not given."""


def open_model(run: str | None) -> Model:
    """The model that `run=` names; raises UserError if there is none."""
    return Path(run).expanduser() if run is not None and run.lower().endswith(".onnx") else Run.open(run)


def load_model(model: Model, device: str, unreadable: str, max_pixels: int | None) -> "Inspector | ExportedInspector":
    """Load it.

    Args:
        model: result of `open_model`.
        device: device of a run's network: auto, cpu, cuda or cuda:<n>.
        unreadable: review or reject, the verdict on a photo that cannot be read.
        max_pixels: photos with more are refused; None: the training's limit.

    Raises:
        UserError: it is damaged, or the device is not there.
    """
    from dataclasses import replace

    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.inference.inspector import Inspector

    verdict = Verdict(unreadable.upper())
    if isinstance(model, Path):
        exported = ExportedInspector.load(model, verdict, threads=1)
        if max_pixels is not None:
            exported.decode = replace(exported.decode, max_pixels=max_pixels)
        return exported
    inspector = Inspector.load(model, device, verdict)
    if max_pixels is not None:
        inspector = replace(inspector, decode=replace(inspector.decode, max_pixels=max_pixels))
    return inspector


def warn_of_batch(model: Model, novelty: Iterable[float]) -> None:
    """Warn if the photos as a group are unlike the run's training photos."""
    from qc_lightning.metrics.batch import unlike_training

    if isinstance(model, Run) and (why := unlike_training(model, novelty)):
        print(f"WARNING: {why}")
