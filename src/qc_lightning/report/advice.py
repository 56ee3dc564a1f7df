"""Advice on what to do next, by rules on the metrics of a run."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from qc_lightning.metrics.certificate import parts_needed
from qc_lightning.metrics.wording import FEW, interval, percent


class Advice(NamedTuple):
    """One piece of advice with its reason and, if there is one, a command."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Advised:
    """The run that is advised on.

    Attributes:
        run: its folder.
        pretrained: whether the network started from weights trained on other photos.
        train: its command.
        classes: the user's names for Correct and Incorrect.
        rules: rules that can choose a threshold on the validation photos.
    """

    run: str
    pretrained: bool
    train: str = "qc-lightning train"
    classes: Sequence[str] = ("Correct", "Incorrect")
    rules: Collection[str] = ("balanced", "escape")

    @property
    def argument(self) -> str:
        """`run=<folder>` as a word of a command to paste into a shell."""
        return shlex.quote(f"run={self.run}")

    @property
    def better(self) -> str:
        """The command that trains a better model."""
        return f"{self.train} {'data.tiles=2x2' if self.pretrained else 'experiment=recommended'}"


def advice(
    metrics: Mapping[str, Any],
    subset: str,
    thresholds: Mapping[str, Sequence[Any]] | None,
    history: Sequence[Mapping[str, float | None]],
    groups: Advice | None,
    bad_files: int,
    advised: Advised,
) -> list[Advice]:
    """The advice for a run, the most pressing first; each command can be pasted into a shell.

    Args:
        metrics: metrics.json.
        subset: the reported subset, usually "test".
        thresholds: `curves.sweep` of the subset; None without its predictions.
        history: rows of history.csv.
        groups: advice about photos that may show one part; None if not needed.
        bad_files: number of unreadable files.
        advised: the run.
    """
    part = metrics[subset]
    (tn, fp), (fn, tp) = part["confusion_matrix"]
    correct, incorrect = tn + fp, fn + tp
    weak, steps = _is_weak(part), list[Advice]()
    if weak:
        steps.append(_improve(part, advised))
    elif thresholds is not None and incorrect and correct:
        steps += _move_threshold(part, thresholds, advised)
    if min(correct, incorrect) < FEW:
        steps.append(_test_more(correct, incorrect, advised))
    trained = (metrics.get("train") or {}).get("accuracy") or {}
    if not weak and trained.get("low") is not None and trained["low"] > part["accuracy"]["high"]:
        steps.append(
            Advice(
                f"The model is far better on its training photos ({percent(trained['value'])} right) than on new ones "
                f"({percent(part['accuracy']['value'])}): train with more photos"
                + ("." if advised.pretrained else ", or with pretrained features."),
                "" if advised.pretrained else advised.better,
            )
        )
    if _still_falling(history):
        text = "The loss was still falling in the last epoch: train longer."
        steps.append(Advice(text, f"{advised.train} trainer.max_epochs={2 * len(history)}"))
    steps += [groups] if groups else []
    if bad_files:
        steps.append(Advice(f"Repair or remove the {bad_files} unreadable file{'s' * (bad_files > 1)} listed below."))
    return steps


def _is_weak(part: Mapping[str, Any]) -> bool:
    """Whether the verdicts are no better than one verdict for every part."""
    (tn, fp), (fn, tp) = part["confusion_matrix"]
    correct, incorrect = tn + fp, fn + tp
    one_verdict = not fp + tp or not tn + fn
    no_better = tn + tp <= max(correct, incorrect) and (part["balanced_accuracy"]["low"] or 0.0) <= 0.5
    return bool(correct and incorrect) and (one_verdict or no_better)


def _improve(part: Mapping[str, Any], advised: Advised) -> Advice:
    """Advice on a weak model: another threshold if its probabilities separate the classes, else a better model."""
    if (part["auroc"]["low"] or 0.0) > 0.6 and "balanced" in advised.rules:
        return Advice(
            f"The verdicts are no better than one for every part, but the probabilities do separate the classes "
            f"(AUROC {interval(part['auroc'])}): only the threshold is wrong. Let the validation photos set it.",
            f'qc-lightning decide {advised.argument} rule=balanced reason="the report advises it"',
        )
    why = (
        f"Its features are pretrained already: give it more {advised.classes[1]} photos of each kind of defect, and if "
        "the defects are small, a closer look at each part of the photo."
        if advised.pretrained
        else "Small networks trained from nothing often end so on real photos; start from features learnt on millions "
        "of others."
    )
    return Advice(f"Do not use this model: it does no better than one verdict for every part. {why}", advised.better)


def _test_more(correct: int, incorrect: int, advised: Advised) -> Advice:
    """Advice on few test photos of a class."""
    classes = advised.classes
    few = " and ".join(f"{c} {w}" for c, w in ((incorrect, classes[1]), (correct, classes[0])) if c < FEW)
    return Advice(
        f"Test on more parts: {few} say little. An escape rate of 5% takes {parts_needed(0.05)} "
        f"{classes[1]} parts without one escape, of 1% {parts_needed(0.01)}. Put photos that the run has never "
        f"seen into qualification/{classes[0]} and qualification/{classes[1]}.",
        f"qc-lightning certify qualification/ {advised.argument} escape_rate=0.05",
    )


def _move_threshold(part: Mapping[str, Any], thresholds: Mapping[str, Sequence[Any]], advised: Advised) -> list[Advice]:
    """Advice on many escapes or avoidable overkill; the validation photos choose the threshold.

    The test photos choose no threshold, since their metrics would then be biased.
    """
    classes, rules = advised.classes, advised.rules
    (tn, fp), (fn, _) = part["confusion_matrix"]
    cuts = list(zip(thresholds["threshold"], thresholds["escapes"], thresholds["overkills"], strict=True))
    escapes = part["escape_rate"]["value"]  # without photos for REVIEW, which the confusion matrix counts as passed
    if fn and escapes > 0.05:
        _, _, overkills = _highest(cuts, fn // 2)
        escaping = f"{percent(escapes)} of the {classes[1]} photos escape"
        if overkills / (tn + fp) <= 0.5 and "escape" in rules:
            text = (
                f"{escaping}. Let the validation photos choose a threshold that lets at most 5% pass; the slider shows "
                f"what fewer escapes cost in {classes[0]} photos."
            )
            command = f'qc-lightning decide {advised.argument} rule=escape escape_rate=0.05 reason="too many escapes"'
            return [Advice(text, command)]
        bearable = overkills / (tn + fp) <= 0.5
        why = "the validation photos cannot choose a lower threshold" if bearable else "no threshold fixes that"
        return [
            Advice(f"{escaping}, and {why} at a bearable price: the model itself has to get better.", advised.better)
        ]
    _, _, overkills = _highest(cuts, fn)
    if fp - overkills >= 2 and (fp - overkills) / (tn + fp) >= 0.05 and "balanced" in rules:
        text = (
            f"Some overkill can be avoided: a higher threshold would pass more {classes[0]} photos without a further "
            "escape. Let the validation photos choose it."
        )
        return [Advice(text, f'qc-lightning decide {advised.argument} rule=balanced reason="too much overkill"')]
    return []


def _highest(cuts: list[tuple[float, int, int]], escapes: int) -> tuple[float, int, int]:
    """The highest threshold with at most this number of escapes."""
    return [cut for cut in cuts if cut[1] <= escapes][-1]


def _still_falling(history: Sequence[Mapping[str, float | None]]) -> bool:
    """Whether the last epoch has the lowest loss (on validation, if there is any) by more than 1%."""
    for name in ("val_loss", "train_loss"):
        losses = [loss for row in history if (loss := row.get(name)) is not None]
        if losses:
            return len(losses) >= 3 and losses[-1] < 0.99 * min(losses[:-1])
    return False
