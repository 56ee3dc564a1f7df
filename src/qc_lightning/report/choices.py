"""Find the decision rules that work on a run's validation photos."""

import csv
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qc_lightning.config.decisions import CostConfig, DecisionConfig, Rule
from qc_lightning.core.csv_files import read_table
from qc_lightning.core.errors import UserError
from qc_lightning.metrics.rules import choose_decision
from qc_lightning.metrics.verdict import overkills


def _rule(name: Rule, escape_rate: float | None) -> DecisionConfig:
    return DecisionConfig(
        rule=name,
        threshold=0.5,
        escape_rate=escape_rate,
        overkill_rate=None,
        costs=CostConfig(escape=1.0, overkill=1.0, review=None),
        bad_share=None,
        novelty=None,
    )


_RULES = {"balanced": _rule("balanced", None), "escape": _rule("escape", 0.05)}
"""The rules that the report advises."""

_BEARABLE = 0.5  # fraction of Correct photos that an advised threshold may reject


def validation_scores(path: Path, incorrect: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Probabilities float64 [n] and labels int64 [n], 1 = Incorrect, of a run's validation.csv.

    Args:
        path: path of the file.
        incorrect: the user's name for Incorrect.

    Raises:
        UserError: it is damaged.
    """
    try:
        table = read_table(path, errors="surrogateescape")
        pairs = [(float(row["probability"]), row["label"] == incorrect) for row in table]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged ({reason}): restore it or train again") from error
    return np.array([p for p, _ in pairs], dtype=np.float64), np.array([bad for _, bad in pairs], dtype=np.int64)


def rules_that_work(path: Path, incorrect: str) -> Collection[str]:
    """The advised rules that find a threshold at a bearable price: it rejects at most half of the Correct photos.

    Arguments as for `validation_scores`.
    """
    if not path.is_file():
        return ()
    probability, label = validation_scores(path, incorrect)
    decisions = {name: choose_decision(probability, label, rule) for name, rule in _RULES.items()}
    return [
        name
        for name, decision in decisions.items()
        if decision.source.startswith(name)
        and overkills(decision.verdicts(probability), label).sum() <= _BEARABLE * (label == 0).sum()
    ]
