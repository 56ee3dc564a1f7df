"""Read an attribute study from a table of verdicts, and present its analysis as text and as a page."""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import read_text
from qc_lightning.metrics.agreement import RISING, Study
from qc_lightning.metrics.verdict import Verdict

_NEEDED = ("part", "appraiser", "trial", "verdict")
_BAD = (Verdict.REJECT, "0", "fail", "bad", "nok", "ng", "incorrect")  # words for a defect, the first that occurs


def read_study(path: Path) -> Study:
    """Read part,appraiser,trial,verdict[,reference] from a .csv.

    Raises:
        UserError: a column or a verdict is missing, or one is there twice.
    """
    try:
        text = read_text(path, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"expected a .csv of verdicts in {path}: {reason}") from error
    cells, truth = _verdicts(path, text)
    return _study(path, cells, truth)


def _verdicts(path: Path, text: str) -> tuple[dict[tuple[str, str, str], str], dict[str, str]]:
    """The table's verdicts by part, appraiser and trial, and its references by part; none without that column."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in _NEEDED if name not in (reader.fieldnames or [])]
    if missing:
        raise UserError(f"{path}: expected the columns {', '.join(_NEEDED)}, there is no {missing[0]}")
    has_reference = "reference" in (reader.fieldnames or [])
    cells: dict[tuple[str, str, str], str] = {}
    truth: dict[str, str] = {}
    for line, row in enumerate(reader, start=2):
        values = {name: (row.get(name) or "").strip() for name in (*_NEEDED, *(["reference"] if has_reference else []))}
        if not all(values.values()):
            empty = next(name for name, value in values.items() if not value)
            raise UserError(f"{path}, line {line}: expected a {empty}, got none")
        key = values["part"], values["appraiser"], values["trial"]
        if key in cells:
            raise UserError(f"{path}, line {line}: {key[1]} has judged part {key[0]} in trial {key[2]} twice")
        cells[key] = values["verdict"]
        if has_reference and truth.setdefault(values["part"], values["reference"]) != values["reference"]:
            raise UserError(f"{path}, line {line}: part {key[0]} has two references")
    if not cells:
        raise UserError(f"{path}: expected verdicts, there are none")
    return cells, truth


def _study(path: Path, cells: Mapping[tuple[str, str, str], str], truth: Mapping[str, str]) -> Study:
    """Arrange verdicts by part, appraiser and trial; each appraiser needs as many trials of each part."""
    parts, appraisers = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
    trials: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (part, appraiser, _), verdict in sorted(cells.items()):
        trials[part, appraiser].append(verdict)
    count = max(map(len, trials.values()))
    for part in parts:
        for appraiser in appraisers:
            if len(trials[part, appraiser]) != count:
                got = len(trials[part, appraiser])
                raise UserError(f"{path}: expected {count} trials of part {part} by {appraiser}, got {got}")
    words = sorted({*cells.values(), *truth.values()})
    if len(set(words) - {Verdict.REVIEW}) > 2:
        raise UserError(f"{path}: expected two verdicts, such as PASS and REJECT, got {', '.join(words)}")
    table = [[[words.index(verdict) for verdict in trials[part, one]] for one in appraisers] for part in parts]
    reference = np.array([words.index(truth[part]) for part in parts]) if truth else None
    bad = next((words.index(word) for word in words for name in _BAD if word.lower() == name.lower()), None)
    if truth and bad is None:
        raise UserError(f"{path}: expected one of {', '.join(_BAD)} as the word for a defect, got {', '.join(words)}")
    return Study(appraisers, parts, words, np.array(table), reference, bad)


_RATES = {
    "within": "within: all trials alike",
    "against_reference": "effectiveness: all trials right",
    "miss_rate": "miss rate",
    "false_alarm_rate": "false-alarm rate",
    "fleiss_within": "Fleiss' kappa within",
    "kappa_reference": "Cohen's kappa against reference",
}
_ALL = {
    "between": "between: all appraisers and trials alike",
    "all_against_reference": "all appraisers and trials right",
    "fleiss_between": "Fleiss' kappa between",
}


def result_lines(
    analysis: Mapping[str, Any], grades: Mapping[str, Mapping[str, str]]
) -> list[tuple[str, str, str, str]]:
    """One line per metric: name, appraiser, value with interval, grade."""
    lines = []
    for key, words in _RATES.items():
        for name, one in analysis.get(key, {}).items():
            lines.append((words, name, _value(one, "kappa" in words), _grade(grades, key, name)))
    lines += [("Cohen's kappa", pair, _value(one, True), "") for pair, one in analysis.get("kappa_pairs", {}).items()]
    lines += [
        (words, "all", _value(analysis[key], "kappa" in words), "") for key, words in _ALL.items() if key in analysis
    ]
    return lines


def _grade(grades: Mapping[str, Mapping[str, str]], key: str, name: str) -> str:
    graded_as = {"against_reference": "effectiveness", "kappa_reference": "kappa"}
    return grades.get(graded_as.get(key, key), {}).get(name, "")


def _value(one: Mapping[str, Any], kappa: bool) -> str:
    if one["value"] is None:
        return "-"
    if kappa:
        return f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
    return f"{one['value'] + 1e-9:.1%} ({one['low']:.1%} to {one['high']:.1%})"


def limits_in_words(limits: Mapping[str, Sequence[float]]) -> str:
    """The limits that grade the appraisers, by the names of their settings."""
    words = []
    for name, (good, poor) in limits.items():
        ends = ("from", "below") if name in RISING else ("up to", "above")
        words.append(f"{name} {ends[0]} {good:g} ({ends[1]} {poor:g})")
    return f"Acceptable (unacceptable): {', '.join(words)}; all four are settings."


def page(title: str, lines: Sequence[tuple[str, str, str, str]], notes: Sequence[str], confidence: str) -> str:
    """The metrics as one HTML file without scripts."""
    from qc_lightning.report.environment import environment, style

    sections = [(what, [line[1:] for line in group]) for what, group in groupby(lines, key=lambda line: line[0])]
    template = environment(Path(__file__).parent).get_template("gauge.html.jinja")
    return template.render(style=style(), title=title, sections=sections, notes=notes, confidence=confidence)
