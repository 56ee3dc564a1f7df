"""Record another decision for a run, without training: `qc-lightning decide run=... threshold=0.3 reason="..."`."""

from qc_lightning.cli.app import run_command
from qc_lightning.config import DecideConfig


def decide(config: DecideConfig) -> int:
    """Append a decision to the run's decision.json; returns its number.

    Raises:
        UserError: the run cannot be read or is being trained, or the rule needs validation photos and there are none.
    """
    from qc_lightning.core.run import Run
    from qc_lightning.evaluation.choice import choose_on_validation, effect
    from qc_lightning.inference.checkpoint import saved_decision
    from qc_lightning.metrics.decision import Decision
    from qc_lightning.metrics.record import DecisionFile, check_decidable

    run = Run.open(config.run)
    check_decidable(run)
    model_id, own, _ = saved_decision(run.best)
    before = DecisionFile.read(run.decisions, model_id, own).newest
    novelty = before.decision.novelty
    reason = (config.reason or "").strip()
    if config.threshold is not None:
        band = (config.review[0], config.review[1]) if config.review else None
        decision, photos = Decision(config.threshold, reason, band, novelty), "none"
    else:
        decision, photos = choose_on_validation(run, config.decision, config.device, reason, novelty)
    lines = (f"reason on record: {decision.source}", *effect(run, decision, config.bad_share))
    decisions = DecisionFile.append(run, (model_id, own), decision, config.rule, photos, config.by)
    if (run.folder / "report.html").is_file():
        from qc_lightning.report.page import write_report

        write_report(run.folder)

    band_words = "" if decision.review is None else f", review from {decision.review[0]:g} to {decision.review[1]:g}"
    print(
        f"{run}: decision {decisions.newest.number} is in force: threshold {decision.threshold:g}{band_words} "
        f"(decision {before.number}: {before.decision.threshold:g})"
    )
    for line in lines:
        print(line)
    if before.certificate is not None:
        print(f"It is not certified, decision {before.number} was: qc-lightning certify qualification/ {run.argument}")
    if config.threshold is not None:
        print(
            "If this threshold was read off the run's test photos, their figures are spent: they are too good now. "
            f"Measure it on photos that nobody has looked at: qc-lightning evaluate new_photos/ {run.argument}"
        )
    return decisions.newest.number


def main() -> None:
    """Run the command."""
    run_command(decide, "decide")


if __name__ == "__main__":
    main()
