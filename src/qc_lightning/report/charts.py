"""The PNG figures of a run: learning curves, confusion matrix, contact sheet.

Figures are made without pyplot: no global state, no display, safe in threads. Colours are from Okabe & Ito's palette,
which readers with any colour vision can distinguish; dashes and markers repeat the information.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qc_lightning.core.atomic import replacing
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.report.glyphs import class_names, make_legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE = "#0072B2", "#D55E00"


def learning_curves(history: Sequence[Mapping[str, float | None]]) -> "Figure":
    """Accuracy and loss by epoch, training and validation (Deora, Fig. 1).

    Args:
        history: one row per epoch with "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"; a
            value that is None or missing is left out, and so is a missing validation curve.
    """
    figure = _figure(9.0, 3.6)
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for subset, colour, style in (("train", BLUE, "o-"), ("val", ORANGE, "s--")):
            points = [(row["epoch"], row.get(f"{subset}_{name}")) for row in history]
            curve = [(x, y) for x, y in points if x is not None and y is not None]
            if curve:
                words = "training" if subset == "train" else "validation"
                axes.plot(*zip(*curve, strict=True), style, color=colour, label=words, linewidth=2, markersize=4)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        _tidy(axes)
        axes.grid(alpha=0.25)
        if name == "accuracy":
            axes.set_ylim(-0.02, 1.02)
        if axes.lines:
            axes.legend(frameon=False)
            low, high = axes.dataLim.intervalx
            axes.set_xlim(low - 0.5, high + 0.5)
        else:
            axes.text(0.5, 0.5, "no epoch was finished", ha="center", transform=axes.transAxes)
    return figure


def confusion_matrix(metrics: Mapping[str, Any], classes: tuple[str, str] = ("Correct", "Incorrect")) -> "Figure":
    """Counts of the four outcomes; the depth of each cell is its share of the true class.

    Args:
        metrics: metrics of one subset, a result of `metrics.evaluate`; "confusion_matrix" [[TN, FP], [FN, TP]] is used.
        classes: the user's names for Correct and Incorrect.
    """
    counts = np.asarray(metrics["confusion_matrix"], dtype=np.int64)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [name if len(name) <= 24 else name[:21] + "..." for name in class_names(classes)]
    words = (("passed", "overkill"), ("escaped", "rejected"))
    figure = _figure(4.8, 4.0)
    axes = figure.subplots()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if fractions[row, column] > 0.55 else "black"
        axes.text(column, row - 0.06, f"{count:,}", ha="center", va="center", color=colour, fontsize=20)
        note = f"{words[row][column]}, {fractions[row, column]:.0%}" if counts[row].sum() else words[row][column]
        axes.text(column, row + 0.2, note, ha="center", va="center", color=colour, fontsize=10)
    # a class named $x$ must not be rendered as a formula
    axes.set_xticks((0, 1), (Verdict.PASS, Verdict.REJECT))
    axes.set_yticks((0, 1), names, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xlabel("verdict")
    axes.set_ylabel("true class")
    axes.spines[:].set_visible(False)
    return figure


def contact_sheet(images: npt.NDArray[np.uint8], captions: Sequence[str]) -> "Figure":
    """Draw photos side by side, as the network sees them.

    Args:
        images: uint8 [n, 3, height, width], n >= 0.
        captions: n short texts.
    """
    n, _, height, width = images.shape
    columns = min(8, max(1, n))
    row_count = max(1, math.ceil(n / columns))
    # one image of all photos: a hundred axes would take seconds
    gap = max(2, width // 24)
    strip = max(8, width // 6)
    sheet = np.full((row_count * (height + strip), columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    figure = _figure(1.25 * columns + 0.2, 1.25 * sheet.shape[0] / sheet.shape[1] * columns + 0.2)
    axes = figure.subplots()
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top, left = index // columns * (height + strip), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
        text = caption if len(caption) <= 18 else caption[:15] + "..."
        axes.text(
            left + width / 2, top + height + strip / 2, text, ha="center", va="center", fontsize=7, parse_math=False
        )
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    return figure


def robustness(result: Mapping[str, Any]) -> "Figure":
    """Escape, overkill and flip rate against the strength of each corruption, with 95% bands.

    Args:
        result: result of `evaluation.robustness`.
    """
    corruptions = result["corruptions"]
    row_count = math.ceil(len(corruptions) / 3)
    figure = _figure(10.0, 2.6 * row_count + 0.4)
    panels = figure.subplots(row_count, 3, sharey=True, squeeze=False).ravel()
    lines = (("escape_rate", ORANGE, "o-"), ("overkill_rate", BLUE, "s--"), ("flips", "#666666", "^:"))
    for axes, (name, corruption) in zip(panels, corruptions.items(), strict=False):
        for rate, colour, style in lines:
            # position 0 is the unchanged photo
            points = [result["clean"][rate], *(point[rate] for point in corruption["strengths"])]
            if points[0]["value"] is None:
                continue
            values, low, high = ([point[end] for point in points] for end in ("value", "low", "high"))
            words = {"escape_rate": "escape rate", "overkill_rate": "overkill rate", "flips": "verdicts that flip"}
            axes.plot(values, style, color=colour, label=words[rate], linewidth=1.8, markersize=4)
            if rate != "flips":
                axes.fill_between(range(len(points)), low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xticks(
            range(6), ["as is", *(f"{point['strength']:g}" for point in corruption["strengths"])], fontsize=8
        )
        axes.set_title(name, fontsize=11)
        axes.set_xlabel(corruption["unit"], fontsize=8)
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:.0%}")
        axes.grid(alpha=0.25)
        _tidy(axes)
    for axes in panels[len(corruptions) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG atomically."""
    make_legible(figure)
    with replacing(path) as temporary:
        # without the software name, which contains the matplotlib version: equal charts have equal bytes
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
    return path


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
