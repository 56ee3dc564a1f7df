"""Robustness of a run's verdicts: every photo with every corruption."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qc_lightning.core.bars import Progress
from qc_lightning.data.decoding.decode import BadImage, read
from qc_lightning.data.photo import Photo
from qc_lightning.evaluation.corruptions import CORRUPTIONS, corrupt
from qc_lightning.evaluation.evaluation_set import verified
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.decision import probabilities
from qc_lightning.metrics.intervals import proportion
from qc_lightning.metrics.verdict import Verdicts, escapes, overkills, reviews
from qc_lightning.models.photo_threads import photo_threads

RATES = ("escape_rate", "overkill_rate", "review_rate", "accuracy", "flips")
VARIANTS = [(name, strength) for name, corruption in CORRUPTIONS.items() for strength in corruption.strengths]
_LIMIT = 0.05  # fraction of changed verdicts above which a cell is marked


def sample(photos: Sequence[Photo], most: int | None) -> list[Photo]:
    """At most `most` photos, evenly spaced within each class in proportion to its size; all for None.

    >>> photos = [Photo(None, str(i), i % 4 == 0, str(i)) for i in range(100)]
    >>> [sum(photo.label == label for photo in sample(photos, 20)) for label in (0, 1)]
    [15, 5]
    """
    if most is None or len(photos) <= most:
        return list(photos)
    ordered = sorted(range(len(photos)), key=lambda i: photos[i].label)
    taken = np.linspace(0, len(photos) - 1, most).round().astype(int)
    return [photos[i] for i in sorted(ordered[place] for place in taken)]


def robustness(inspector: Inspector, photos: Sequence[Photo]) -> dict[str, Any]:
    """Rates on the unchanged photos and under each corruption at each strength.

    Args:
        inspector: the model.
        photos: the run's own, with labels and groups.

    Returns:
        {"n", "threshold", "review", "novelty", "cells": n, "clean": rates, "corruptions": {name: {"unit", "strengths":
        [{"strength", rates}]}}}. Threshold, review band and limit of novelty are those of the decision; rates are
        escape_rate, overkill_rate, review_rate, accuracy (neither of these) and flips (verdicts other than on the photo
        as it is), each {"value", "low", "high"}: Wilson intervals with a design effect for groups; None if no photo
        counts.

    Raises:
        UserError: a photo is gone or is another file than it was.
    """
    logits, novelty = _scores(inspector, photos)
    verdicts = inspector.decision.verdicts(probabilities(logits), None if novelty is None else novelty.numpy())
    label = np.array([photo.label for photo in photos])
    unit = np.unique([photo.group for photo in photos], return_inverse=True)[1]
    rates = [_rates(column, verdicts[:, 0], label, unit) for column in verdicts.T]
    table: dict[str, Any] = {
        name: {"unit": corruption.unit, "strengths": []} for name, corruption in CORRUPTIONS.items()
    }
    for (name, strength), measured in zip(VARIANTS, rates[1:], strict=True):
        table[name]["strengths"].append({"strength": strength, **measured})
    flips = [point["flips"] for corruption in table.values() for point in corruption["strengths"]]
    for cell, many in zip(flips, surely_above(flips, len(np.unique(unit))), strict=True):
        cell["surely_many"] = many
    decision = {name: inspector.decision.to_dict()[name] for name in ("threshold", "review", "novelty")}
    return {"n": len(photos), **decision, "cells": len(flips), "clean": rates[0], "corruptions": table}


def _scores(inspector: Inspector, photos: Sequence[Photo]) -> tuple[Tensor, Tensor | None]:
    """Logits and, if it is measured, novelty, float32 [n, 1 + variants]; the first column is of photos as they are."""

    def answer(item: tuple[int, Photo]) -> tuple[Tensor, Tensor | None]:
        number, photo = item
        pixels, sha256, error = np.zeros((3, 1, 1), np.uint8), "", ""
        try:
            pixels, sha256 = read(photo.path, inspector.decode.at(photo.camera))
        except BadImage as reason:
            error = str(reason)
        verified(photo, sha256, error, own=True)
        clean, at = torch.from_numpy(pixels)[None], torch.tensor([number])
        variants = torch.cat([clean, *(corrupt(clean, name, strength, at) for name, strength in VARIANTS)]).numpy()
        return inspector.scores(variants)

    # as in prediction: on a CPU each core processes its own photo
    with photo_threads(inspector.device, elsewhere=2) as pool:
        asked = pool.map(answer, enumerate(photos))
        answers = list(Progress(asked, desc="worse photos", total=len(photos), unit="photo", delay=1))
    novelty = [distance for _, distance in answers if distance is not None]
    return torch.stack([logit for logit, _ in answers]), torch.stack(novelty) if novelty else None


def surely_above(rates: Sequence[Mapping[str, Any]], parts: int) -> list[bool]:
    """Which rates are above 5%, with 95% confidence for all together (Holm 1979, exact binomial tests).

    Args:
        rates: each with its "value".
        parts: that each was counted on; photos of one part are one.

    >>> surely_above([{"value": 0.15}] * 45, 20)[0], surely_above([{"value": 0.5}] * 45, 20)[0]
    (False, True)
    """
    from scipy.special import bdtrc

    p = [float(bdtrc(round((rate["value"] or 0.0) * parts) - 1, parts, _LIMIT)) for rate in rates]
    sure, left = [False] * len(p), len(p)
    for place in sorted(range(len(p)), key=p.__getitem__):
        if p[place] * left > 0.05:
            break
        sure[place], left = True, left - 1
    return sure


def _rates(
    verdicts: Verdicts,
    clean: Verdicts,
    label: npt.NDArray[np.int64],
    unit: npt.NDArray[np.int64],
) -> dict[str, dict[str, float | None]]:
    def rate(hit: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> dict[str, float | None]:
        if not among.any():
            return {"value": None, "low": None, "high": None}
        low, high = proportion(hit[among], unit[among])
        return {"value": float(hit[among].mean()), "low": low, "high": high}

    bad, everything = label == 1, np.ones(len(label), dtype=bool)
    escaped, overkilled = escapes(verdicts, label), overkills(verdicts, label)
    right = ~(escaped | overkilled | reviews(verdicts))
    of_class = rate(escaped, bad), rate(overkilled, ~bad)
    of_all = (rate(hit, everything) for hit in (reviews(verdicts), right, verdicts != clean))
    return dict(zip(RATES, (*of_class, *of_all), strict=True))


def csv_rows(result: Mapping[str, Any]) -> list[list[object]]:
    """One row per corruption and strength: names, then value, low, high of each rate; first the clean photos."""
    lines = [("none", "", 0.0, result["clean"])]
    for name, corruption in result["corruptions"].items():
        lines += [(name, corruption["unit"], point["strength"], point) for point in corruption["strengths"]]
    ends = ("value", "low", "high")
    return [
        [name, unit, strength, *(point[r][e] for r in RATES for e in ends)] for name, unit, strength, point in lines
    ]


def csv_header() -> list[str]:
    """The columns of `csv_rows`."""
    return ["corruption", "unit", "strength", *(f"{r}{e}" for r in RATES for e in ("", "_low", "_high"))]


def in_words(result: Mapping[str, Any]) -> str:
    """Console table: the fraction of verdicts that change, five strengths per row, and where it becomes relevant."""
    lines = [f"{'verdicts that flip':20}" + "".join(f"{f'strength {i}':>13}" for i in range(1, 6))]
    for name, corruption in result["corruptions"].items():
        cells = [f"{point['flips']['value']:.1%} ({point['strength']:g})" for point in corruption["strengths"]]
        lines.append(f"{name:20}" + "".join(f"{cell:>13}" for cell in cells) + f"   {corruption['unit']}")
    return "\n".join(lines)
