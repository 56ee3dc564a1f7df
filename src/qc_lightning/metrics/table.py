"""Metrics as text for the console."""

from collections.abc import Mapping
from typing import Any

from qc_lightning.metrics import go_live, kinds
from qc_lightning.metrics.compute import FIGURES
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.metrics.wording import interval, shown_figures, subset_name


def in_words(metrics: Mapping[str, Any], classes: tuple[str, str]) -> list[str]:
    """The table, the escapes by kind of defect and the go-live answer, as lines; an empty line ends each of them.

    Args:
        metrics: content of metrics.json; of the last two what it has.
        classes: the user's names for Correct and Incorrect.
    """
    lines = [table(metrics, classes), ""]
    if escapes := (metrics.get("test") or {}).get("kinds"):
        lines += ["escapes by kind of defect", *kinds.in_words(escapes), ""]
    if "go_live" in metrics:
        lines += ["can it go live?", *go_live.in_words(metrics["go_live"], classes), ""]
    return lines


def table(metrics: Mapping[str, Any], classes: tuple[str, str] = ("Correct", "Incorrect")) -> str:
    """The subsets side by side as plain text of at most 100 columns, the escape and overkill rate first.

    Args:
        metrics: subsets as `evaluate` gives them, by name ("train", "val", "test"); others are ignored.
        classes: the user's names for Correct and Incorrect.
    """
    subsets = [name for name in ("train", "val", "test") if (metrics.get(name) or {}).get("n")]
    lines = [
        ["", *(subset_name(metrics, name) for name in subsets)],
        ["photos", *(str(metrics[name]["n"]) for name in subsets)],
    ]
    if any("parts" in metrics[name] for name in subsets):
        of_parts = [_by_part(metrics[name]) for name in subsets]
        lines.append(["parts", *(str(part["n"]) for part in of_parts)])
        for key in ("escape_rate", "overkill_rate", "review_rate"):
            if key != "review_rate" or any((part[key] or {}).get("value") for part in of_parts):
                lines.append([f"{FIGURES[key]} by part", *(interval(part[key]) for part in of_parts)])
    for key, words in shown_figures(metrics).items():
        cells = [metrics[name][key] for name in subsets]
        lines.append([words, *(_loss(cell) if key == "loss" else interval(cell) for cell in cells)])
    blocks = [_aligned(lines)]
    if subsets:
        blocks.append(_verdict_counts(subsets[-1], metrics[subsets[-1]], classes))
    return "\n\n".join(blocks)


def _verdict_counts(name: str, subset: Mapping[str, Any], classes: tuple[str, str]) -> str:
    """How many photos of either class got each verdict; REVIEW only where there are any."""
    good, bad = subset["verdicts"]["correct"], subset["verdicts"]["incorrect"]
    lines = [
        [name, "passed", "rejected", "to review"],
        [f"{_short(classes[0])} ({sum(good.values())})", f"{good[Verdict.PASS]}", f"{good[Verdict.REJECT]} overkill"],
        [f"{_short(classes[1])} ({sum(bad.values())})", f"{bad[Verdict.PASS]} escaped", f"{bad[Verdict.REJECT]}"],
    ]
    if not good[Verdict.REVIEW] + bad[Verdict.REVIEW]:
        return _aligned([row[:3] for row in lines])
    return _aligned([lines[0], [*lines[1], f"{good[Verdict.REVIEW]}"], [*lines[2], f"{bad[Verdict.REVIEW]}"]])


def _by_part(subset: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures by part; where no photos share a group those of the photos."""
    parts: Mapping[str, Any] = subset.get("parts", subset)
    return parts


def _loss(figure: Mapping[str, float | None]) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    return "-" if value is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:37] + "..."


def _aligned(table: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)
