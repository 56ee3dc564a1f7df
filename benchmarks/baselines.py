"""Cheap baselines on the split of a run: `python benchmarks/baselines.py SEEDS [data overrides ...]`.

    python benchmarks/baselines.py 0,1,2,3,4 data=elpv data.group=module

HOG + logistic regression (Dalal & Triggs 2005: 9 orientations, cells of 8 x 8, blocks of 2 x 2 cells, at 128 px) and
histogram gradient boosting on 32 x 32 grey pixels, both by scikit-learn (extra `dev`). The regression's penalty is the
best of four on folds of ELPV's training part, seed 0. As with `experiment=recommended`, nothing is held back for
validation: the threshold with the best balanced accuracy is chosen out of fold on the training part, whole groups at a
time.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hydra import compose, initialize_config_dir
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from qc_lightning.cli.compose import register
from qc_lightning.config import TrainConfig, parse
from qc_lightning.config.presets import CONF
from qc_lightning.data.dataset import load_photos
from qc_lightning.data.split import folds
from qc_lightning.metrics.rules import choose_decision
from qc_lightning.metrics.verdict import Verdict

Floats = npt.NDArray[np.float32]


def hog(gray: Floats, cell: int = 8, bins: int = 9) -> Floats:
    """Histograms of oriented gradients, float [n, features], of photos float [n, S, S]."""
    dy, dx = np.gradient(gray, axis=(1, 2))
    strength, angle = np.hypot(dx, dy), np.mod(np.arctan2(dy, dx), np.pi) / np.pi * bins
    n, side = len(gray), gray.shape[1] // cell
    cells = np.zeros((n, side, side, bins), np.float32)
    low = np.floor(angle).astype(int)
    for bin_ in range(bins):
        # each pixel votes for the two nearest orientations, by its distance to them
        share = np.where(low % bins == bin_, 1 - (angle - low), np.where((low + 1) % bins == bin_, angle - low, 0))
        cells[..., bin_] = (strength * share).reshape(n, side, cell, side, cell).sum((2, 4))
    blocks = np.concatenate([cells[:, y : side - 1 + y, x : side - 1 + x] for y in (0, 1) for x in (0, 1)], axis=-1)
    blocks /= np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-6)
    return blocks.reshape(n, -1)


BASELINES: dict[str, tuple[int, Callable[[Floats], Floats], Callable[[], Any]]] = {
    "HOG + logistic regression": (
        128,
        hog,
        lambda: make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced", max_iter=500)),
    ),
    "histogram gradient boosting": (
        32,
        lambda gray: gray.reshape(len(gray), -1),
        lambda: HistGradientBoostingClassifier(class_weight="balanced", random_state=0),
    ),
}


def config_of(overrides: Sequence[str], seed: int, size: int) -> TrainConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["data.split.val=0", *overrides, f"seed={seed}", f"data.image_size={size}"])
    return parse(cfg, TrainConfig)


def figures(config: TrainConfig, features: Callable[[Floats], Floats], build: Callable[[], Any]) -> list[float]:
    """AUROC, balanced accuracy, and accuracy at probability 0.5 on the test part."""
    photos = load_photos(config.data)
    train, test = photos.indices("train"), photos.indices("test")
    x = features(photos.pixels(np.arange(len(photos.photos))).mean(1, dtype=np.float32))
    y = photos.labels
    fold = PredefinedSplit(folds([photos.photos[row] for row in train], 5, config.seed))
    held_out = cross_val_predict(build(), x[train], y[train], cv=fold, method="predict_proba")[:, 1]
    decision = choose_decision(held_out, y[train], replace(config.decision, rule="balanced"))
    p = build().fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    balanced = balanced_accuracy_score(y[test], decision.verdicts(p) == Verdict.REJECT)
    return [float(roc_auc_score(y[test], p)), float(balanced), float(((p >= 0.5) == y[test]).mean())]


def main(seeds: str, *overrides: str) -> None:
    print(f"{' '.join(overrides)}, seeds {seeds}: mean +- standard deviation on the test part")
    for name, (size, features, build) in BASELINES.items():
        begun = time.perf_counter()
        rows = [figures(config_of(overrides, seed, size), features, build) for seed in map(int, seeds.split(","))]
        seconds = (time.perf_counter() - begun) / len(rows)
        cells = []
        for what, values in zip(
            ("AUROC", "balanced accuracy", "accuracy at 0.5"), zip(*rows, strict=True), strict=True
        ):
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{what} {statistics.mean(values):.3f} +- {spread:.3f}")
        print(f"  {name:28} {'   '.join(cells)}   {seconds:.0f} s a seed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
