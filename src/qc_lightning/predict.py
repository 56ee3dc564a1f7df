"""Predict verdicts of photos: `python -m qc_lightning.predict`, settings as Hydra overrides."""

from itertools import takewhile

from qc_lightning.cli.app import run_command
from qc_lightning.config import PredictConfig


def predict(config: PredictConfig) -> None:
    """Write one row with a verdict per photo, streaming from the files to the output."""
    from qc_lightning.core.shutdown import graceful_shutdown
    from qc_lightning.prediction.plan import Plan
    from qc_lightning.prediction.shards import Shard

    if config.engine == "ray":
        from qc_lightning.prediction.on_ray import predict_on_ray

        if code := predict_on_ray(config):
            raise SystemExit(code)
        return
    with graceful_shutdown() as stop:
        plan = Plan.from_config(config, Shard.of_process(config.shard)).without_done(stop)

        from qc_lightning.inference.stream import Stream
        from qc_lightning.inference.validity import certificate_status
        from qc_lightning.prediction.model import load_model, warn_of_batch
        from qc_lightning.prediction.output import VerdictFile
        from qc_lightning.prediction.summary import summarise

        inspector = load_model(plan.model, config.device, config.unreadable, config.max_pixels)
        plan.announce(inspector)
        certificate, draw, bar = certificate_status(inspector), plan.drawer(inspector), plan.bar()
        with VerdictFile(plan.output, plan.written) as verdicts, Stream(inspector, config.batch_size) as stream, bar:
            parts = plan.part_file()
            for paths in plan.rounds(stop):
                for batch in stream.inspect(takewhile(lambda _: not stop.signal, paths)):
                    records = [row for inspection in batch if (row := plan.row(inspection, certificate, draw))]
                    verdicts.write(records)
                    parts.write(records)
                    bar.update(len(records))
                parts.settle()
            said = ""
            if plan.total is None or bar.n == plan.total:
                said = parts.finish()
                verdicts.finish()
    if said:
        print(said)
    if plan.total is not None:
        warn_of_batch(plan.model, verdicts.novelty)
    if code := summarise(plan.output, verdicts.counts, int(bar.n), plan.total, stop, plan.unsettled):
        raise SystemExit(code)


def main() -> None:
    """Run the command."""
    run_command(predict, "predict")


if __name__ == "__main__":
    main()
