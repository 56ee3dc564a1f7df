"""Escapes by kind of defect."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qc_lightning.metrics.compute import figure
from qc_lightning.metrics.intervals import proportion
from qc_lightning.metrics.verdict import Verdicts, escapes
from qc_lightning.metrics.wording import interval

UNKNOWN = "(no kind given)"


def by_kind(
    verdicts: Verdicts, label: npt.NDArray[np.integer], group: Sequence[str], kind: Sequence[str]
) -> dict[str, Any]:
    """The escape rate of each kind of defect with its 95% interval, for metrics.json; empty without kinds.

    Args:
        verdicts: [n].
        label: int [n], 1 = Incorrect; kinds of Correct photos are ignored.
        group: n names; photos of one group count as dependent.
        kind: kind of the defect, n words; empty if unknown.

    Returns:
        {kind: {"n": photos, "escapes": number passed, "escape_rate": {"value", "low", "high"}}}, the worst first.
    """
    if not any(word for word, bad in zip(kind, label, strict=True) if bad):
        return {}
    words = np.array([word or UNKNOWN for word in kind])
    unit = np.unique(np.asarray(group, dtype=np.str_), return_inverse=True)[1]
    passed, bad = escapes(verdicts, label), label == 1
    kinds: dict[str, Any] = {}
    for word in np.unique(words[bad]).tolist():
        of_kind = bad & (words == word)
        hit, dependent = passed[of_kind], unit[of_kind] if len(set(group)) < len(group) else None
        rate = figure(float(hit.mean()), *proportion(hit, dependent))
        kinds[word] = {"n": int(of_kind.sum()), "escapes": int(hit.sum()), "escape_rate": rate}
    return dict(sorted(kinds.items(), key=lambda item: (-item[1]["escape_rate"]["value"], item[0])))


def in_words(kinds: Mapping[str, Any]) -> list[str]:
    """The kinds as lines of a table, the worst first.

    Args:
        kinds: result of `by_kind`.
    """
    width = max((len(word) for word in kinds), default=0)
    return [
        f"{word.ljust(width)}  {kind['escapes']} of {kind['n']} escaped, {interval(kind['escape_rate'])}"
        for word, kind in kinds.items()
    ]
