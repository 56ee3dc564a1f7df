"""Pictures of an explanation: the photo, its heat and the outline of its hottest part, side by side."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qc_lightning.core.atomic import replacing
from qc_lightning.data.catalog import path_text
from qc_lightning.explanation.explanations import Explanation
from qc_lightning.explanation.summary import row
from qc_lightning.metrics.verdict import escapes, overkills
from qc_lightning.report import charts
from qc_lightning.report.glyphs import class_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOT = 0.5  # fraction of the greatest heat at which the outline is drawn
_MAP = "inferno"  # perceptually uniform, and readable in grey
_THUMBNAIL = 384  # pixels
_STEM = 200  # most bytes of a photo's name in its picture's name: file systems allow 255 in total


def write(
    explanations: Iterable[Explanation], folder: Path, names: tuple[str, str]
) -> tuple[list[list[object]], list[dict[str, Any]], int]:
    """Write a sheet and an overlay of each photo.

    Args:
        explanations: an iterator that computes them on request.
        folder: folder of the pictures.
        names: names of the classes.

    Returns:
        The lines of explain.csv, the measures of each readable photo, and the number of unreadable ones.
    """
    lines, measures, errors = [], [], 0
    for number, one in enumerate(explanations, 1):
        stem = path_text(one.subject.path.stem).encode()[:_STEM].decode(errors="ignore")
        name = "" if one.error else f"sheets/{number:04d}_{stem}.png"
        if one.error:
            errors += 1
        else:
            charts.save(sheet(one, names), folder / name)
            save_overlay(one, folder / f"{one.sha256}.png")
            measures.append(one.measures)
        lines.append(row(one, name, names))
    return lines, measures, errors


def sheet(explanation: Explanation, names: tuple[str, str]) -> "Figure":
    """Draw the three panels with the verdict and the results of the checks."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    assert explanation.photo is not None
    assert explanation.heat is not None
    names = class_names(names)
    height, width = explanation.photo.shape[:2]
    figure = Figure(figsize=(11.5, 1.1 + 3.5 * min(2.0, height / width)), layout="constrained")
    panels = figure.subplots(1, 3)
    heat = explanation.heat / max(float(explanation.heat.max()), 1e-30)
    titles = ("photo", f"evidence for {names[explanation.incorrect]}", f"above {HOT:.0%} of the greatest heat")
    for axes, title in zip(panels, titles, strict=True):
        axes.imshow(explanation.photo if axes is not panels[1] else _grey(explanation.photo), interpolation="none")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    panels[1].imshow(heat, cmap=_MAP, vmin=0, vmax=1, alpha=0.25 + 0.6 * heat)
    scale = ScalarMappable(Normalize(0, 1), _MAP)  # without the picture's transparency
    figure.colorbar(scale, ax=panels[1], fraction=0.046, label="heat, share of the greatest")
    if explanation.heat.any():
        for colour, wide in (("black", 3.0), ("white", 1.2)):  # visible on dark and bright photos
            panels[2].contour(heat, [HOT], colors=colour, linewidths=wide)
    if explanation.mask is not None:
        panels[2].contour(explanation.mask, [0.5], colors="#56B4E9", linewidths=1.2, linestyles="dashed")
    figure.suptitle(_caption(explanation, names), fontsize=11)
    return figure


def _caption(explanation: Explanation, names: tuple[str, str]) -> str:
    label, name = explanation.subject.label, path_text(explanation.subject.path.name)
    text = f"{name}: P({names[1]}) {explanation.probability:.3f}, {explanation.verdict}"
    if label is not None and explanation.verdict is not None:
        text += f", really {names[label]}"
        text += ": ESCAPE" if escapes(explanation.verdict, label) else ""
        text += ": OVERKILL" if overkills(explanation.verdict, label) else ""
    if explanation.mask is not None:
        text += "; dashed: the defect"
    if explanation.heat is None or not explanation.heat.any():
        text += f"\nnothing in this photo speaks for {names[explanation.incorrect]}"
    elif explanation.beats_random is False:
        text += "\nNo better than a random map: blurring its hottest pixels changes the score no more than others do"
    return text.replace("$", r"\$")


def overlay(explanation: Explanation) -> npt.NDArray[np.uint8]:
    """The photo in grey under its heat, uint8 RGB [h, w, 3]."""
    from matplotlib import colormaps

    assert explanation.photo is not None
    assert explanation.heat is not None
    heat = (explanation.heat / max(float(explanation.heat.max()), 1e-30))[..., None]
    alpha = 0.25 + 0.6 * heat
    blended = (1 - alpha) * _grey(explanation.photo) + alpha * 255 * colormaps[_MAP](heat[..., 0])[..., :3]
    pixels: npt.NDArray[np.uint8] = blended.round().astype(np.uint8)
    return pixels


def _grey(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    grey: npt.NDArray[np.uint8] = np.repeat(photo.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    return grey


def save_overlay(explanation: Explanation, path: Path) -> None:
    """Write a small overlay, for the report."""
    from PIL import Image

    image = Image.fromarray(overlay(explanation))
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    with replacing(path) as temporary:
        image.save(temporary, "PNG")
