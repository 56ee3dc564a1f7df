"""The go-live answer: what the test photos show about escapes and overkill, counted by part."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qc_lightning.config.decisions import DecisionConfig
from qc_lightning.core.atomic import read_json
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.metrics.certificate import lower_bound, parts_needed, upper_bound
from qc_lightning.metrics.intervals import wilson
from qc_lightning.metrics.verdict import Verdict, by_part
from qc_lightning.metrics.wording import one_verdict

CONFIDENCE = 0.95
_SHARES = (0.001, 0.01, 0.05)  # of bad parts on the line, if unknown


def go_live(
    verdicts: npt.NDArray[np.str_], label: npt.NDArray[np.integer], part: Sequence[str], target: DecisionConfig
) -> dict[str, Any]:
    """Compute the answer for metrics.json.

    A part is as bad as its worst photo: it passes if all its photos pass.

    Args:
        verdicts: [n], of photos that were not used for any choice.
        label: int [n], 1 = Incorrect.
        part: n names.
        target: the escape rate and the overkill rate to keep, if any, and the line's share of bad parts, if known.

    Returns:
        {"claim": the largest rates that these photos leave possible (one-sided, exact; None without photos of the
        class), "target": the rates that were asked for, "answer": "yes", "no", "not shown" or None without a target,
        "needed": Incorrect parts without an escape that show the target (5% without one), "per_1000": what happens to
        1,000 parts by share of bad ones}.
    """
    worst, bad, _ = by_part(verdicts, label, part)
    counts = {
        kind: {verdict: int((worst[of_kind] == verdict).sum()) for verdict in Verdict}
        for kind, of_kind in (("incorrect", bad), ("correct", ~bad))
    }
    escapes, incorrect = counts["incorrect"][Verdict.PASS], int(bad.sum())
    overkills, correct = counts["correct"][Verdict.REJECT], int((~bad).sum())
    answers = [
        _answer(misses, parts, rate)
        for misses, parts, rate in (
            (escapes, incorrect, target.escape_rate),
            (overkills, correct, target.overkill_rate),
        )
        if rate is not None
    ]
    wanted = target.escape_rate or 0.05
    shares = _SHARES if target.bad_share is None else (target.bad_share,)
    return {
        "claim": {
            "confidence": CONFIDENCE,
            "escape_rate": upper_bound(escapes, incorrect, CONFIDENCE) if incorrect else None,
            "escapes": escapes,
            "incorrect_parts": incorrect,
            "overkill_rate": upper_bound(overkills, correct, CONFIDENCE) if correct else None,
            "overkills": overkills,
            "correct_parts": correct,
        },
        "target": {"escape_rate": target.escape_rate, "overkill_rate": target.overkill_rate},
        "answer": next((word for word in ("no", "not shown", "yes") if word in answers), None),
        "needed": {
            "escape_rate": wanted,
            "incorrect_parts": parts_needed(wanted, 0, CONFIDENCE),
            "more": max(0, parts_needed(wanted, 0, CONFIDENCE) - incorrect),
            "with_these_escapes": parts_needed(wanted, escapes, CONFIDENCE),
        },
        "per_1000": [_per_1000(bad_share, counts) for bad_share in shares],
    }


def _answer(misses: int, parts: int, rate: float) -> str:
    if parts and upper_bound(misses, parts, CONFIDENCE) <= rate:
        return "yes"
    return "no" if parts and lower_bound(misses, parts, CONFIDENCE) > rate else "not shown"


def _per_1000(bad_share: float, counts: Mapping[str, Mapping[Verdict, int]]) -> dict[str, Any]:
    """Outcomes of 1,000 parts with 95% intervals, for a given share of bad parts."""

    def count(kind: str, verdict: Verdict) -> dict[str, float | None]:
        given, parts = counts[kind], sum(counts[kind].values())
        many = 1000 * (bad_share if kind == "incorrect" else 1 - bad_share)
        if not parts:
            return {"value": None, "low": None, "high": None}
        low, high = wilson(given[verdict], parts)
        return {"value": many * given[verdict] / parts, "low": many * low, "high": many * high}

    review = [count("incorrect", Verdict.REVIEW), count("correct", Verdict.REVIEW)]
    both = {
        end: None if None in (review[0][end], review[1][end]) else (review[0][end] or 0) + (review[1][end] or 0)
        for end in ("value", "low", "high")
    }
    return {
        "bad_share": bad_share,
        "bad": 1000 * bad_share,
        "caught": count("incorrect", Verdict.REJECT),
        "escaped": count("incorrect", Verdict.PASS),
        "rejected_for_nothing": count("correct", Verdict.REJECT),
        "to_review": both,
    }


def in_words(answer: Mapping[str, Any], classes: Sequence[str] = ("Correct", "Incorrect")) -> list[str]:
    """State the answer in sentences, the most important first.

    Args:
        answer: result of `go_live`.
        classes: the user's names for Correct and Incorrect.
    """
    claim, needed, target = answer["claim"], answer["needed"], answer["target"]
    sure = f"at {claim['confidence']:.0%} confidence (one-sided, exact)"
    lines = []
    if claim["incorrect_parts"]:
        limit = f"that excludes an escape rate above {_percent(claim['escape_rate'])} {sure}"
        if claim["escapes"] == claim["incorrect_parts"]:
            limit = "any escape rate up to 100% is possible"
        lines.append(f"{claim['escapes']:,} of {claim['incorrect_parts']:,} {classes[1]} parts passed: {limit}.")
    else:
        lines.append(f"Escapes are unknown: no {classes[1]} part was tested.")
        if claim["correct_parts"]:
            lines.append(
                f"{claim['overkills']:,} of {claim['correct_parts']:,} {classes[0]} parts were rejected: that excludes "
                f"an overkill rate above {_percent(claim['overkill_rate'])} {sure}."
            )
    rates = [(target["escape_rate"], "an escape rate"), (target["overkill_rate"], "an overkill rate")]
    asked = " and ".join(f"{words} of at most {_percent(rate)}" for rate, words in rates if rate is not None)
    if asked:
        lines.insert(0, f"{answer['answer'].capitalize()}: {asked} was asked for.")
        if target["overkill_rate"] is None and claim["overkills"]:
            lines.append(
                f"No overkill rate was asked for: {claim['overkills']:,} of {claim['correct_parts']:,} {classes[0]} "
                "parts were rejected."
            )
    if needed["more"]:
        lines.append(
            f"To show an escape rate of {_percent(needed['escape_rate'])} takes {needed['incorrect_parts']} "
            f"{classes[1]} parts without an escape, {needed['more']} more than were tested."
        )
    elif claim["escape_rate"] > needed["escape_rate"]:
        more = needed["with_these_escapes"]
        lines.append(f"To show {_percent(needed['escape_rate'])} with {claim['escapes']} escapes takes {more} parts.")
    for row in answer["per_1000"]:
        if row["escaped"]["value"] is not None and row["rejected_for_nothing"]["value"] is not None:
            lines.append(
                f"Of 1,000 parts with {_percent(row['bad_share'])} bad ones: {_count(row['caught'])} caught, "
                f"{_count(row['escaped'])} escape (up to {row['escaped']['high']:.3g}), "
                f"{_count(row['rejected_for_nothing'])} {classes[0]} rejected for nothing, "
                f"{_count(row['to_review'])} to review."
            )
    return lines


def review_forecast(reviewed: npt.NDArray[np.bool_], bad: npt.NDArray[np.bool_], bad_share: float | None) -> list[str]:
    """Forecast how many of the line's parts a person will look at, in sentences; none without reviewed ones.

    Args:
        reviewed: bool [n], of parts or photos whose verdicts are REVIEW.
        bad: bool [n], Incorrect.
        bad_share: share of bad parts on the line; None: 0.1%, 1% and 5%.
    """
    if not reviewed.any() or bad.all() or not bad.any():
        return []
    of_bad, of_good = (wilson(int(reviewed[of_class].sum()), int(of_class.sum())) for of_class in (bad, ~bad))
    lines = []
    for fraction in _SHARES if bad_share is None else (bad_share,):
        low, high = (fraction * one + (1 - fraction) * other for one, other in zip(of_bad, of_good, strict=True))
        lines.append(
            f"to review with {_percent(fraction)} bad parts on the line: {_percent(low)} to {_percent(high)} of all "
            "parts"
        )
    return lines


def doubt(metrics: Mapping[str, Any]) -> str:
    """Why a run, by its own metrics, cannot tell the classes apart, in one line; empty if it can."""
    subset = next((name for name in ("test", "val", "train") if (metrics.get(name) or {}).get("n")), None)
    if subset is None:
        return "no photo was evaluated, so nothing is known about this model"
    part = metrics[subset]
    (tn, fp), (fn, tp) = part["confusion_matrix"]
    if not (tn + fp and fn + tp):
        return f"its {subset} photos are of one class only, so it is unknown whether it can tell the two apart"
    if not (fp + tp and tn + fn):
        return f"it {one_verdict(part)} its {part['n']:,} {subset} photos"
    low = part["balanced_accuracy"]["low"]
    if low is None or low <= 0.5:
        return f"on its {part['n']:,} {subset} photos it is not clearly better than guessing"
    return ""


def doubt_of(run: Run) -> str:
    """Why a run, by its own metrics, cannot tell the classes apart; empty if it can or has no metrics."""
    try:
        return doubt(read_json(run.metrics))
    except (UserError, AttributeError, KeyError, TypeError, ValueError):  # damaged
        return "it has no readable metrics.json, so nothing is known about this model"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"


def _count(row: Mapping[str, float | None]) -> str:
    value = row["value"]
    return "-" if value is None else f"{value:.3g}" if value < 10 else f"{value:.0f}"
