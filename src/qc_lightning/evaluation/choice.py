"""Choose a decision on a run's validation photos after its training."""

from dataclasses import replace

import numpy as np

from qc_lightning.config import DecisionConfig
from qc_lightning.config.record import RunRecord
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.evaluation.evaluation_set import own_photos, trained_with
from qc_lightning.evaluation.score import score
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.decision import Decision, probabilities
from qc_lightning.metrics.go_live import review_forecast
from qc_lightning.metrics.rules import choose_decision
from qc_lightning.metrics.verdict import escapes, overkills, reviews
from qc_lightning.report.choices import validation_scores


def effect(run: Run, decision: Decision, bad_share: float | None) -> list[str]:
    """Verdicts of a decision on the validation photos, and how many parts its review band sends to a person, in words.

    Args:
        run: keeps the validation scores; without them there are no sentences.
        decision: the decision.
        bad_share: share of bad parts on the line; None: that of the training's settings.
    """
    if not run.validation.is_file():
        return []
    trained = RunRecord.read(run).training
    probability, label = validation_scores(run.validation, trained.data.classes.incorrect)
    verdicts, names = decision.verdicts(probability), trained.data.classes.names
    escaped, overkilled, reviewed = escapes(verdicts, label), overkills(verdicts, label), reviews(verdicts)
    words = (
        f"on {len(label)} validation photos: {escaped.sum()} of {(label == 1).sum()} {names[1]} pass, "
        f"{overkilled.sum()} of {(label == 0).sum()} {names[0]} are rejected, {reviewed.sum()} are for review"
    )
    bad_share = trained.decision.bad_share if bad_share is None else bad_share
    return [words, *review_forecast(reviewed, label == 1, bad_share)]


def choose_on_validation(
    run: Run, config: DecisionConfig, device: str, reason: str, novelty: float | None
) -> tuple[Decision, str]:
    """Apply a rule to the scores of the run's validation photos, or to out-of-fold scores if it has none.

    Args:
        run: keeps these scores; of a run made before they were kept, the validation photos are scored again.
        config: the rule.
        device: to score them on.
        reason: recorded with the result of the rule.
        novelty: the limit to keep.

    Returns:
        The decision, and the photos that it was chosen on, in words.

    Raises:
        UserError: there are no validation photos, they changed, or the rule finds nothing on them.
    """
    if run.validation.is_file():
        probability, label = validation_scores(run.validation, trained_with(run).classes.incorrect)
    else:
        labelled = own_photos(run, "val")
        scored = score(Inspector.load(run, device), labelled, trained_with(run).batch_size)
        probability, label = probabilities(scored.logit), np.array([photo.label for photo in scored.photos])
    decision = choose_decision(probability, label, config)
    if not decision.source.startswith(config.rule):
        raise UserError(f"rule={config.rule}: {decision.source.removeprefix('fixed: ')}; give threshold= instead")
    explained = replace(decision, source=f"{decision.source} ({reason})", novelty=novelty)
    return explained, f"{len(label)} validation photos"
