"""Evaluate a run on labelled photos: `python -m qc_lightning.evaluate`, settings as Hydra overrides."""

from qc_lightning.cli.app import run_command
from qc_lightning.config import EvaluateConfig


def evaluate(config: EvaluateConfig) -> None:
    """Compute the same metrics as a training, and compare two runs."""
    from qc_lightning.core.run import Run
    from qc_lightning.core.timing import Timing
    from qc_lightning.evaluation.evaluation_set import evaluation_folder, labelled_photos, trained_with

    timing = Timing()
    run = Run.open(config.run)
    other = Run.open(config.against) if config.against else None
    labelled = labelled_photos(run, config.data, config.subset)
    folder = evaluation_folder(run, config.name)

    from qc_lightning.evaluation.evaluate_run import compare_runs, evaluate_run, in_words, write_evaluation
    from qc_lightning.evaluation.score import score
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.metrics.go_live import doubt_of

    inspector = Inspector.load(run, config.device)
    timing.done("setup")
    scored = score(inspector, labelled, trained_with(run).batch_size)
    metrics = evaluate_run(run, inspector, labelled, scored)
    timing.done("score")
    if other:
        rival = Inspector.load(other, config.device)
        rivals = score(rival, labelled, trained_with(other).batch_size)
        metrics["comparison"] = compare_runs(other, (inspector, scored), (rival, rivals))
        timing.done("against")
    metrics["timing_s"] = timing.seconds
    folder = write_evaluation(folder, config.name is not None, inspector, labelled, scored, metrics)

    if why := doubt_of(run):
        print(f"WARNING: {why}")
    print(f"{run} on {labelled.origin}, threshold {inspector.decision.threshold:g}\n")
    print(in_words(run, inspector, labelled, metrics))
    print(f"evaluation: {folder}")
    if scored.bad:
        raise SystemExit(3)


def main() -> None:
    """Run the command."""
    run_command(evaluate, "evaluate")


if __name__ == "__main__":
    main()
