"""Figures in words: rates with their intervals, and what a reader of metrics.json must not miss."""

from collections.abc import Mapping, Sequence
from typing import Any

from qc_lightning.metrics.certificate import parts_needed
from qc_lightning.metrics.compute import FIGURES
from qc_lightning.metrics.verdict import Verdict

FEW = 59  # photos of a class: fewer cannot show a rate of 5% even without a miss


def percent(fraction: float | None, decimals: int = 0) -> str:
    """A share in percent, with more decimals where rounding would make it look like none or all; "-" for None."""
    if fraction is None:
        return "-"
    # a half goes up, here as in the report's script
    while decimals < 3 and 0 < fraction < 1 and float(f"{100 * fraction + 1e-9:.{decimals}f}") in (0.0, 100.0):
        decimals += 1
    return f"{100 * fraction + 1e-9:.{decimals}f}%"


def interval(figure: Mapping[str, float | None]) -> str:
    """A rate with its interval, "82% (70% to 90%)"; a decimal more when the interval is narrow."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None or low is None or high is None:
        return "-"
    decimals = 0 if high - low >= 0.04 else 1 if high - low >= 0.004 else 2
    return f"{percent(value, decimals)} ({percent(low, decimals)} to {percent(high, decimals)})"


def subset_name(metrics: Mapping[str, Any], subset: str) -> str:
    """What a reader sees of "train", "val" or "test": validation figures of the training photos are "out of fold"."""
    return "out of fold" if (metrics.get(subset) or {}).get("out_of_fold") else subset


def one_verdict(part: Mapping[str, Any]) -> str:
    """What a model does with the photos of a subset that all lie on one side of the threshold, in words."""
    (_, fp), (_, tp) = part["confusion_matrix"]
    reviewed = any(counts[Verdict.REVIEW] for counts in part.get("verdicts", {}).values())
    if reviewed:  # of these not every one has the verdict of that side
        return "passes none of" if fp + tp else "rejects none of"
    return "rejects every one of" if fp + tp else "passes every one of"


def shown_figures(metrics: Mapping[str, Any]) -> dict[str, str]:
    """FIGURES without those that a run of an earlier release lacks, and without the review rate where there is none."""
    parts = [part for name in ("train", "val", "test") if (part := metrics.get(name) or {}).get("n")]
    reviewed = any(part.get("review_rate", {}).get("value") for part in parts)
    return {
        key: words
        for key, words in FIGURES.items()
        if all(key in part for part in parts) and (reviewed or key != "review_rate")
    }


def warnings_for(metrics: Mapping[str, Any], classes: Sequence[str] = ("Correct", "Incorrect")) -> list[str]:
    """What a reader of metrics.json must not miss, in plain sentences; empty if there is nothing.

    Args:
        metrics: subsets as `evaluate` gives them, by name; warns about test, else val, else train.
        classes: the user's names for Correct and Incorrect.
    """
    subset = next((name for name in ("test", "val", "train") if (metrics.get(name) or {}).get("n")), None)
    if subset is None:
        return ["No photo was evaluated: nothing is known about this model."]
    part = metrics[subset]
    (tn, fp), (fn, tp) = part["confusion_matrix"]
    n, incorrect, correct = part["n"], fn + tp, tn + fp
    warnings = []
    if part["loss"]["value"] is None:
        warnings.append(f"The {subset} loss is not a finite number: the training diverged. Lower optim.lr.")
    if incorrect and correct:
        most, name = max((correct, classes[0]), (incorrect, classes[1]))
        balanced = part["balanced_accuracy"]
        if not (fp + tp and tn + fn):
            warnings.append(f"The model {one_verdict(part)} the {n} {subset} photos: it cannot tell the classes apart.")
        elif tn + tp <= most:
            rare = " Where one class is rare, judge by escapes and overkill." if balanced["low"] > 0.5 else ""
            warnings.append(
                f"Accuracy on {subset} ({percent((tn + tp) / n)}) is no better than calling every photo {name} "
                f"({percent(most / n)}).{rare}"
            )
        elif balanced["low"] <= 0.5:
            warnings.append(
                f"Balanced accuracy on {subset}, {interval(balanced)}, is not clearly better than guessing (50%)."
            )
    few = []
    for name, count, key in ((classes[1], incorrect, "escape_rate"), (classes[0], correct, "overkill_rate")):
        if count == 0:
            warnings.append(f"No {name} photo in {subset}: the {FIGURES[key]} is unknown.")
        elif count < FEW:
            low, high = percent(part[key]["low"]), percent(part[key]["high"])
            few.append(f"{count} {name} (the {FIGURES[key]} may be anywhere from {low} to {high})")
    if few:
        needed = f"{parts_needed(0.05)} parts without a miss for a rate of 5%, {parts_needed(0.01)} for 1%"
        warnings.append(f"Few {subset} photos: only {' and '.join(few)}. It takes {needed}.")
    return warnings
