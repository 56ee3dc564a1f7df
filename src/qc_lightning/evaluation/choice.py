"""A decision chosen on a run's validation photos after its training."""

from dataclasses import replace

import numpy as np

from qc_lightning.config import DecisionConfig
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.evaluation.evaluation_set import own_photos, trained_with
from qc_lightning.evaluation.score import score
from qc_lightning.inference.inspector import Inspector, probabilities
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.rules import choose_decision


def choose_on_validation(
    run: Run, config: DecisionConfig, device: str, reason: str, novelty: float | None
) -> tuple[Decision, str]:
    """Apply a rule to the scores of the run's validation photos.

    Args:
        run: whose photos are still where they were.
        config: the rule.
        device: to score them on.
        reason: goes on record with what the rule found.
        novelty: the limit to keep.

    Returns:
        The decision, and the photos that it was chosen on, in words.

    Raises:
        UserError: there are no validation photos, they changed, or the rule finds nothing on them.
    """
    labelled = own_photos(run, "val")
    scored = score(Inspector.load(run, device), labelled, trained_with(run).batch_size)
    label = np.array([photo.label for photo in scored.photos])
    decision = choose_decision(probabilities(scored.logit), label, config)
    if not decision.source.startswith(config.rule):
        raise UserError(f"rule={config.rule}: {decision.source.removeprefix('fixed: ')}; give threshold= instead")
    chosen = replace(decision, source=f"{decision.source} ({reason})", novelty=novelty)
    return chosen, f"{len(scored.photos)} validation photos"
