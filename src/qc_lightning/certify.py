"""Certify a run's escape rate on photos that it has never seen: `qc-lightning certify qualification/`."""

from qc_lightning.cli.app import run_command
from qc_lightning.config import CertifyConfig


def certify(config: CertifyConfig) -> bool:
    """Derive a decision with a certificate from qualification photos; returns whether every rate is shown.

    Raises:
        UserError: the photos cannot be used, the run has seen some of them, or it is being trained.
    """
    from qc_lightning.core.run import Run
    from qc_lightning.evaluation import qualification
    from qc_lightning.evaluation.evaluation_set import labelled_photos, trained_with
    from qc_lightning.metrics.record import check_decidable

    run = Run.open(config.run)
    check_decidable(run)
    labelled = labelled_photos(run, config.data)

    from qc_lightning.evaluation.score import score
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.metrics.certificate import find_limits
    from qc_lightning.report.page import write_report

    inspector = Inspector.load(run, config.device)
    notes = qualification.check(run, labelled.photos, inspector.decode)
    scored = score(inspector, labelled, trained_with(run).batch_size)
    parts = qualification.parts(scored)
    rates = config.escape_rate, config.overkill_rate, config.confidence, config.together
    limits = find_limits(parts.score, parts.bad, *rates)

    names = inspector.class_names
    print(f"{run} on {labelled.origin}: {parts.bad.sum()} {names[1]} and {(~parts.bad).sum()} {names[0]} parts\n")
    for line in (*notes, *limits):
        print(line)
    if not all(limit.shown for limit in limits):
        print("\nNot certified: the decision stays as it is.")
        return False
    record = qualification.record(run, inspector, scored, parts, limits, config)
    for line in qualification.in_words(run, record, parts, limits, names):
        print(line)
    if (run.folder / "report.html").is_file():
        write_report(run.folder)
    print(f"\nCertified: decision {record.number} of {run.decisions} is in force.")
    return True


def main() -> None:
    """Run the command."""
    run_command(lambda config: None if certify(config) else _not_shown(), "certify")


def _not_shown() -> None:
    raise SystemExit(1)


if __name__ == "__main__":
    main()
