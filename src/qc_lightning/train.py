"""Train a pass/fail classifier: `python -m qc_lightning.train`, settings as Hydra overrides."""

from omegaconf import DictConfig

from qc_lightning.cli import app as cli
from qc_lightning.config import TrainConfig, parse


def train(cfg: DictConfig) -> None:
    """Photos to a trained, measured and reported classifier; everything lands in the run's folder."""
    config = parse(cfg, TrainConfig)
    from qc_lightning.core.timing import Timing
    from qc_lightning.data.dataset import load_photos, split_csv

    timing = Timing()
    photos = load_photos(config.data)
    timing.done("photos")

    from lightning.pytorch import seed_everything

    from qc_lightning.data.datamodule import PhotoDataModule
    from qc_lightning.training import outcome as results
    from qc_lightning.training.classifier import Classifier
    from qc_lightning.training.frozen import fit_frozen, fit_head_first
    from qc_lightning.training.imbalance import resolve_imbalance
    from qc_lightning.training.trainer import build_trainer, fit

    seed_everything(config.seed, verbose=False)
    balanced = resolve_imbalance(config.imbalance, photos.counts()["train"]) == "sampler"
    data = PhotoDataModule(photos, config.data.batch_size, config.augment, config.seed, balanced)
    counts, shape, tiles = photos.counts()["train"], photos.decode.tile, config.data.grid
    model = Classifier(config.model, config.optim, shape, config.imbalance, counts, tiles)
    run, in_sweep = cli.from_hydra()
    trainer = build_trainer(config.trainer, config.logger, run, config.seed, config.optim.patience, in_sweep)
    if trainer.is_global_zero:
        begin = run.start if config.resume is None else run.resume
        begin(split_csv(photos.photos, config.data.classes.names))
    timing.done("setup")

    finished = True
    if config.model.mode == "frozen":
        scores = fit_frozen(trainer, model, photos, run, config)
    else:
        if config.model.mode == "finetune" and config.resume is None:
            fit_head_first(trainer, model, photos, config)
        finished = fit(trainer, model, data, run, resume=config.resume is not None)
        if not (finished and config.score_test):  # after Ctrl-C the test part stays unseen until all is trained
            data.scored.remove("test")
        trainer.test(model, data, ckpt_path=run.best, verbose=False, weights_only=True)
        scores = model.scores
    timing.done("fit")
    if trainer.is_global_zero:
        results.write(run, config, photos, scores, timing, finished)
    if not finished:
        raise SystemExit(130)


def main() -> None:
    """Run the command."""
    cli.run(train, "train")


if __name__ == "__main__":
    main()
