"""What to do next, in plain words, by rules on the figures of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qc_lightning.metrics.compute import FEW, interval, percent

_Z2 = 1.959964**2  # of a 95% interval


class Advice(NamedTuple):
    """One thing to do: why and what, and the command or setting that does it, if there is one."""

    text: str
    command: str = ""


def photos_needed(rate: float) -> int:
    """Photos without a single miss that it takes to show that the true rate is below `rate` (Wilson, 95%).

    >>> photos_needed(0.05), photos_needed(0.01)
    (73, 381)
    """
    return math.ceil(_Z2 * (1 / rate - 1))


def advice(
    metrics: Mapping[str, Any],
    subset: str,
    thresholds: Mapping[str, Sequence[Any]] | None,
    history: Sequence[Mapping[str, float | None]],
    grouped: bool,
    bad_files: int,
    pretrained: bool,
) -> list[Advice]:
    """The steps that the figures call for, the most pressing first.

    Args:
        metrics: metrics.json.
        subset: the one that is reported, "test" as a rule.
        thresholds: `curves.sweep` of it; None when its predictions are not there.
        history: rows of history.csv.
        grouped: whether any group has several photos.
        bad_files: how many files could not be read.
        pretrained: whether the network began with features learnt on other photos.
    """
    part = metrics[subset]
    (tn, fp), (fn, tp) = part["confusion_matrix"]
    correct, incorrect = tn + fp, fn + tp
    steps = []
    better = ("python -m qc_lightning.train experiment=recommended", "data.tiles=2x2")  # by whether it is pretrained
    why = (
        "Small networks trained from nothing often end so on real photos; start from features learnt on millions of "
        "others.",
        "Its features are pretrained already: give it more Incorrect photos of each kind of defect, and if the defects "
        "are small, a closer look at each part of the photo.",
    )
    one_verdict = not fp + tp or not tn + fn
    no_better = tn + tp <= max(correct, incorrect) and (part["balanced_accuracy"]["low"] or 0.0) <= 0.5
    weak = bool(correct and incorrect) and (one_verdict or no_better)
    auroc = part["auroc"]["low"] or 0.0
    if weak and auroc > 0.6:
        steps.append(
            Advice(
                f"The verdicts are no better than one for every part, yet the probabilities do tell parts apart (AUROC "
                f"{interval(part['auroc'])}): the threshold lies beside them. Let the validation photos set it.",
                "decision.rule=balanced",
            )
        )
    elif weak:
        steps.append(
            Advice(
                "Do not use this model: it does no better than one verdict for every part. " + why[pretrained],
                better[pretrained],
            )
        )
    if not weak and thresholds is not None and incorrect and correct:
        steps += _move_threshold(part, thresholds, better[pretrained])
    if min(correct, incorrect) < FEW:
        few = " and ".join(f"{c} {w}" for c, w in ((incorrect, "Incorrect"), (correct, "Correct")) if c < FEW)
        steps.append(
            Advice(
                f"Test on more photos: {few} say little. To show an escape rate below 5% takes at least "
                f"{photos_needed(0.05)} Incorrect photos without one escape, below 1% {photos_needed(0.01)}."
            )
        )
    train = (metrics.get("train") or {}).get("accuracy") or {}
    if not weak and train.get("low") is not None and train["low"] > part["accuracy"]["high"]:
        steps.append(
            Advice(
                f"The model knows its training photos ({percent(train['value'])} right) far better than new ones "
                f"({percent(part['accuracy']['value'])}): train with more photos"
                + ("." if pretrained else ", or with pretrained features."),
                "" if pretrained else better[False],
            )
        )
    if _still_falling(history):
        steps.append(
            Advice(
                "The loss was still falling in the last epoch: train longer.", f"trainer.max_epochs={2 * len(history)}"
            )
        )
    if not grouped:
        steps.append(
            Advice(
                "Every photo was taken for a part of its own. If several show one part, say so: otherwise the same "
                "part is trained and tested on, and the figures are too kind.",
                "data.group=folder or data.group=prefix",
            )
        )
    if bad_files:
        steps.append(Advice(f"Mend or remove the {bad_files} unreadable file{'s' * (bad_files > 1)} listed below."))
    return steps


def _move_threshold(part: Mapping[str, Any], thresholds: Mapping[str, Sequence[Any]], better: str) -> list[Advice]:
    """Where a slider would go: fewer escapes when there are many, else overkill saved for nothing.

    `better` is the command of a better model.
    """
    (tn, fp), (fn, tp) = part["confusion_matrix"]
    cuts = list(zip(thresholds["threshold"], thresholds["escapes"], thresholds["overkills"], strict=True))
    caution = "Try it with the slider, then check it on photos that nobody has looked at yet."
    if fn and fn / (fn + tp) > 0.05:
        cut, escapes, overkills = _highest(cuts, fn // 2)
        if overkills / (tn + fp) <= 0.5:
            text = (
                f"{_rate(fn, fn + tp)} of the Incorrect parts escape. A threshold of {cut:.12g} would let {escapes:,} "
                f"instead of {fn:,} through, and reject {overkills:,} instead of {fp:,} of the {tn + fp:,} Correct. "
                f"{caution}"
            )
            return [Advice(text, f"decision.rule=fixed decision.threshold={cut:.12g}")]
        text = (
            f"{_rate(fn, fn + tp)} of the Incorrect parts escape, and no threshold mends that at a bearable price: "
            "the model itself has to get better."
        )
        return [Advice(text, better)]
    cut, escapes, overkills = _highest(cuts, fn)
    if fp - overkills >= 2 and (fp - overkills) / (tn + fp) >= 0.05:
        text = (
            f"A threshold of {cut:.12g} would reject {overkills:,} instead of {fp:,} Correct parts at no further "
            f"escape. {caution}"
        )
        return [Advice(text, f"decision.rule=fixed decision.threshold={cut:.12g}")]
    return []


def _highest(cuts: list[tuple[float, int, int]], escapes: int) -> tuple[float, int, int]:
    """The middle one of the highest thresholds, all with the same counts, that let at most so many escape."""
    best = [cut for cut in cuts if cut[1] <= escapes][-1]
    same = [cut for cut in cuts if cut[1:] == best[1:]]
    return same[len(same) // 2]


def _rate(count: int, total: int) -> str:
    return percent(count / total)


def _still_falling(history: Sequence[Mapping[str, float | None]]) -> bool:
    """Whether the last epoch has the lowest loss (on validation, if there is any) by more than 1%."""
    for name in ("val_loss", "train_loss"):
        losses = [loss for row in history if (loss := row.get(name)) is not None]
        if losses:
            return len(losses) >= 3 and losses[-1] < 0.99 * min(losses[:-1])
    return False
