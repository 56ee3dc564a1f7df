"""Give a run a name that the line uses: `qc-lightning release run=... name=line-3`."""

from qc_lightning.cli.app import run_command
from qc_lightning.config import ReleaseConfig


def release(config: ReleaseConfig) -> None:
    """Write `outputs/releases/<name>.json`.

    Raises:
        UserError: the run cannot be read, or by its own metrics it cannot tell the classes apart.
    """
    from qc_lightning.core import release as releases
    from qc_lightning.core.errors import UserError
    from qc_lightning.core.run import Run
    from qc_lightning.core.system import now, user
    from qc_lightning.inference.checkpoint import saved_decision
    from qc_lightning.inference.validity import void_because
    from qc_lightning.metrics.go_live import doubt_of
    from qc_lightning.metrics.record import DecisionFile

    name, run = config.name or "", Run.open(config.run)
    releases.path_of(name)
    why_not = doubt_of(run)
    if why_not and not config.force:
        raise UserError(f"{run} is not released: {why_not}; force=true releases it anyway")
    model_id, own, decode = saved_decision(run.best)
    decisions = DecisionFile.read(run.decisions, model_id, own)
    if not run.decisions.is_file():
        decisions.write(run.decisions)
    record = decisions.named(run) if config.decision is None else decisions.numbered(config.decision)
    void = void_because(record.certificate, model_id, decode) if record.certificate else ""
    certified = record.certificate is not None and not void
    path = releases.Release(
        name, str(run.folder), model_id, record.number, decisions.digest(record), certified, config.by or user(), now(),
        config.reason or "",
    ).write()  # fmt: skip
    print(f"{path}: {name} is {run.folder}, decision {record.number}, threshold {record.decision.threshold:g}")
    if why_not:
        print(f"WARNING: {why_not}")
    if void:
        print(f"WARNING: the certificate of decision {record.number} is void: {void}")
    if not certified:
        print(f"It has no certificate: qc-lightning certify qualification/ {run.argument} escape_rate=0.05")
    print(f"use it: qc-lightning predict incoming/ run={name}")


def main() -> None:
    """Run the command."""
    run_command(release, "release")


if __name__ == "__main__":
    main()
