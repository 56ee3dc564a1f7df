"""Summarise all maps: one row per method, for explain.json, the console and the report."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qc_lightning.config import ExplainConfig
from qc_lightning.core.atomic import write_text
from qc_lightning.core.csv_files import csv_text
from qc_lightning.data.catalog import path_text
from qc_lightning.data.decoding.decode import BadImage, decode, scaled
from qc_lightning.explanation import checks
from qc_lightning.explanation.explanations import Explanation, explain
from qc_lightning.explanation.heat import Heat, methods_for
from qc_lightning.explanation.selection import Subject
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.intervals import proportion

_SHUFFLED = 8  # photos in the check with shuffled weights

COLUMNS = ("path", "sha256", "label", "probability", "verdict", "explains", "picture", "x", "y", "hit", "hit_by_chance",
           "heat_in_mask", "mask_share", "fall", "fall_random", "beats_random", "error")  # fmt: skip


def row(explanation: Explanation, picture: str, names: tuple[str, str]) -> list[object]:
    """A row of explain.csv, in the order of COLUMNS."""
    label = "" if explanation.subject.label is None else names[explanation.subject.label]
    cells = [
        path_text(str(explanation.subject.path)),
        explanation.sha256,
        label,
        explanation.probability,
        explanation.verdict,
        names[explanation.incorrect],
    ]
    if explanation.error:
        cells = [path_text(str(explanation.subject.path)), "", label, "", "", ""]
    measures = ["" if value is None else value for value in explanation.measures.values()]
    beats = "" if explanation.beats_random is None else explanation.beats_random
    return [*cells, picture, *measures, beats, explanation.error]


def write(path: Path, lines: Sequence[Sequence[object]]) -> None:
    """Write explain.csv from results of `row`."""
    write_text(path, csv_text(COLUMNS, lines))


def result(
    config: ExplainConfig, inspector: Inspector, heat: Heat, images: Sequence[Subject], measures: list[dict[str, Any]]
) -> dict[str, Any]:
    """The content of explain.json: the metrics of the method, or of all methods, and the check with shuffled weights.

    Args:
        config: all settings.
        inspector: the model.
        heat: the method.
        images: the photos.
        measures: `Explanation.measures` of each readable photo.
    """
    methods = [of_maps(heat.method, measures)]
    if config.compare:
        methods = compare(inspector, methods_for(inspector.network), images, config.batch_size)
    return {
        "method": heat.method,
        "subset": config.subset,
        "target": config.target,
        "photos": len(measures),
        "model_id": inspector.model_id,
        "methods": methods,
        "shuffled": shuffled(inspector, heat.method, images) if config.checks else [],
    }


def of_maps(method: str, maps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The metrics of one method.

    Args:
        method: its name.
        maps: `Explanation.measures` of each photo.

    Returns:
        {"method", "masks": n, "hit": rate, "hit_by_chance", "heat_in_mask", "mask_share", "checked": n, "beats_random":
        rate of maps better than the mean random map, 0.5 by chance}; rates are {"value", "low", "high"}.
    """
    masked = [one for one in maps if one["hit"] is not None]
    checked = [one for one in maps if one["fall"] is not None]
    return {
        "method": method,
        "masks": len(masked),
        "hit": _rate([one["hit"] for one in masked]),
        "hit_by_chance": _mean([one["hit_by_chance"] for one in masked]),
        "heat_in_mask": _mean([one["heat_in_mask"] for one in masked]),
        "mask_share": _mean([one["mask_share"] for one in masked]),
        "checked": len(checked),
        "beats_random": _rate([one["fall"] > one["fall_random"] for one in checked]),
    }


def compare(
    inspector: Inspector, methods: Sequence[str], images: Sequence[Subject], batch_size: int
) -> list[dict[str, Any]]:
    """Compare methods by their evidence for Incorrect, on the photos with masks if there are any.

    The check against random maps uses the first few photos only; so does ScoreCAM as a whole, the slowest method by
    far.
    """
    results = []
    images = [one for one in images if one.mask] or images
    for method in methods:
        some = images[:_SHUFFLED] if method == "scorecam" else images  # one forward pass per channel
        begun = time.perf_counter()
        explanations = list(explain(inspector, Heat(inspector.network, method), some, batch_size, "incorrect", False))
        seconds = (time.perf_counter() - begun) / max(1, len(explanations))
        checked = explain(inspector, Heat(inspector.network, method), images[:_SHUFFLED], batch_size, "incorrect", True)
        maps = [one.measures for one in explanations if not one.error]
        results.append({**of_maps(method, maps), "seconds_a_photo": seconds})
        falls = of_maps(method, [one.measures for one in checked if not one.error])
        results[-1] |= {"checked": falls["checked"], "beats_random": falls["beats_random"]}
    return results


def shuffled(inspector: Inspector, method: str, images: Sequence[Subject]) -> list[dict[str, Any]]:
    """The check with shuffled weights, on a few photos: [{"shuffled", "correlation"}]."""
    pixels = []
    for subject in images:
        try:
            pixels.append(decode(subject.path, inspector.decode.at(subject.camera)))
        except BadImage:
            continue
        if len(pixels) == _SHUFFLED:
            break
    if not pixels:
        return []
    image = scaled(torch.from_numpy(np.stack(pixels)).to(inspector.device))
    steps = checks.randomised(inspector.network, method, image, [True] * len(pixels))
    return [{"shuffled": name, "correlation": value} for name, value in steps]


def in_words(results: Sequence[dict[str, Any]], run: str = "run=latest") -> str:
    """The table on the console.

    Args:
        results: one per method.
        run: the run's name in a command to paste.
    """
    lines = []
    for one in results:
        text = f"{one['method']:10}"
        if one["masks"]:
            hit = one["hit"]
            text += (
                f" pointing game {hit['value']:.1%} ({hit['low']:.0%} to {hit['high']:.0%}) of {one['masks']} defects"
            )
            text += f", chance {one['hit_by_chance']:.1%}; heat in the mask {one['heat_in_mask']:.1%}"
            text += f", its area {one['mask_share']:.1%}."
        if one["checked"]:
            beats = one["beats_random"]
            text += f" Beats random maps on {beats['value']:.0%} ({beats['low']:.0%} to {beats['high']:.0%}) of"
            text += f" {one['checked']} photos" + (_against_chance(beats, run))
        lines.append(text)
    return "\n".join(lines)


def _against_chance(beats: dict[str, float | None], run: str) -> str:
    """Interpret a rate against random maps: 0.5 is chance, and few photos are inconclusive."""
    low, high = beats["low"] or 0.0, beats["high"] or 0.0
    if low > 0.5:
        return ""
    if high < 0.5:
        return f": WORSE THAN RANDOM, so trust none of these maps; try another: qc-lightning explain {run} compare=true"
    return f": cannot tell it from random maps; explain more photos: qc-lightning explain {run} photos=60 subset=train"


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _rate(hits: Sequence[bool]) -> dict[str, float | None]:
    if not hits:
        return {"value": None, "low": None, "high": None}
    low, high = proportion(np.array(hits), None)
    return {"value": float(np.mean(hits)), "low": low, "high": high}
