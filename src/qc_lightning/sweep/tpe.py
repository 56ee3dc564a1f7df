"""Adaptive search with optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

The search has no state besides the sweep's records: each proposal follows from them and from `sweep.seed`, so an
interrupted search continues with the same proposals.
"""

import random
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from qc_lightning.core.errors import UserError
from qc_lightning.sweep.points import Values

Tried = Sequence[tuple[Mapping[str, str], float | None]]
"""Points in the order of their jobs, each with its score; None if it failed."""
_AGAIN = 20  # repeated proposals after which the space counts as exhausted


def check_installed() -> None:
    """Raise UserError unless optuna can be imported."""
    if find_spec("optuna") is None:
        raise UserError('sweep=tpe needs optuna: pip install "qc-lightning[tpe]"; or use sweep=random')


def propose(
    swept: Mapping[str, Values], tried: Tried, lower_is_better: bool, count: int, seed: int
) -> list[dict[str, str]]:
    """Propose the next points; the first ten of a search are random.

    Args:
        swept: possible values of each key.
        tried: points and their scores so far.
        lower_is_better: whether lower scores are better.
        count: largest number of points; fewer if proposals keep repeating.
        seed: seed of the search.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {key: _distribution(values) for key, values in swept.items()}
    dice = random.Random(f"{seed}/{len(tried)}").getrandbits(32)
    sampler = optuna.samplers.TPESampler(seed=dice)
    study = optuna.create_study(direction="minimize" if lower_is_better else "maximize", sampler=sampler)
    complete, failed = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL
    for point, score in tried:
        params = {key: _number(swept[key], text) for key, text in point.items()}
        state = failed if score is None else complete
        study.add_trial(optuna.trial.create_trial(state=state, params=params, distributions=space, value=score))
    seen, proposed = [dict(point) for point, _ in tried], list[dict[str, str]]()
    for _ in range(count + _AGAIN):
        proposal = study.ask(space).params
        point = {key: value if swept[key].listed else swept[key].written(value) for key, value in proposal.items()}
        if point not in seen and len(proposed) < count:
            proposed.append(point)
            seen.append(point)
    return proposed


def _distribution(values: Values) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if values.listed:
        return CategoricalDistribution(values.listed)
    if isinstance(values.start, int):
        return IntDistribution(values.start, int(values.end) - 1, log=values.log)
    return FloatDistribution(values.start, values.end, log=values.log)


def _number(values: Values, text: str) -> str | float | int:
    if values.listed:
        return text
    return int(text) if isinstance(values.start, int) else float(text)
