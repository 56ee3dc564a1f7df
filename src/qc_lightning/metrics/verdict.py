"""What the line does with a part, and which of these verdicts are mistakes. Light: numpy only."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Verdicts = npt.NDArray[np.str_]
"""Values of `Verdict`, str [...]; compares with its members."""


class Verdict(StrEnum):
    """What the line does with a part: let it pass, have a person look at it, or reject it."""

    PASS = "PASS"
    REVIEW = "REVIEW"
    REJECT = "REJECT"


def escapes(verdicts: npt.ArrayLike, label: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which photos are Incorrect parts that pass, bool [...].

    Args:
        verdicts: values of `Verdict`, [...].
        label: int [...], 1 = Incorrect.

    >>> escapes(["PASS", "REVIEW", "REJECT", "PASS"], [1, 1, 1, 0]).tolist()
    [True, False, False, False]
    """
    return np.equal(np.asarray(verdicts, dtype=np.str_), Verdict.PASS) & np.equal(label, 1)


def overkills(verdicts: npt.ArrayLike, label: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which photos are Correct parts that are rejected, bool [...]; arguments as for `escapes`.

    >>> overkills(["PASS", "REVIEW", "REJECT", "REJECT"], [0, 0, 0, 1]).tolist()
    [False, False, True, False]
    """
    return np.equal(np.asarray(verdicts, dtype=np.str_), Verdict.REJECT) & np.not_equal(label, 1)


def reviews(verdicts: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which photos a person has to look at, whatever they show, bool [...].

    >>> reviews(["PASS", "REVIEW", "REJECT"]).tolist()
    [False, True, False]
    """
    return np.equal(np.asarray(verdicts, dtype=np.str_), Verdict.REVIEW)


def by_part(
    verdicts: npt.ArrayLike, label: npt.ArrayLike, part: Sequence[str]
) -> tuple[Verdicts, npt.NDArray[np.bool_], list[str]]:
    """The worst photo decides: each part's verdict, and whether any of its photos shows a defect.

    Args:
        verdicts: values of `Verdict`, [n].
        label: int [n], 1 = Incorrect.
        part: n names.

    Returns:
        Verdicts [m], bool [m] and the m names, sorted.

    >>> by_part(["PASS", "REJECT", "REVIEW"], [0, 1, 0], ["b", "a", "b"])[0].tolist()
    ['REJECT', 'REVIEW']
    """
    worst = np.array([Verdict.PASS, Verdict.REVIEW, Verdict.REJECT], dtype=np.str_)
    names, place = np.unique(np.asarray(part, dtype=np.str_), return_inverse=True)
    rank, bad = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=bool)
    np.maximum.at(rank, place, (np.asarray(verdicts, dtype=np.str_)[:, None] == worst).argmax(1))
    np.logical_or.at(bad, place, np.equal(label, 1))
    return worst[rank], bad, names.tolist()


def worst_first(verdicts: npt.ArrayLike, probability: npt.ArrayLike, label: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The order in which a person looks at photos: positions, int [n].

    Escapes, overkills, photos to review, caught defects, Correct parts that pass; of each kind the surest first.

    Args:
        verdicts: values of `Verdict`, [n].
        probability: float [n], P(Incorrect).
        label: int [n], 1 = Incorrect.

    >>> worst_first(["PASS", "REJECT", "PASS", "REJECT", "PASS"], [0.1, 0.9, 0.3, 0.8, 0.2], [0, 1, 1, 0, 1]).tolist()
    [4, 2, 3, 1, 0]
    """
    v, p, positive = np.asarray(verdicts), np.asarray(probability, dtype=np.float64), np.asarray(label) == 1
    ranks = (escapes(v, label), overkills(v, label), reviews(v), positive)
    kind = np.select(ranks, range(len(ranks)), len(ranks))
    return np.lexsort((np.where(v == Verdict.PASS, p, -p), kind))
