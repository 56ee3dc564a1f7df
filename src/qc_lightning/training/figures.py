"""Draw the figures of a run."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qc_lightning.config import TrainConfig
from qc_lightning.config.presets import augmentations
from qc_lightning.core.run import Run
from qc_lightning.data.augment import augment, mixup
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.data.decoding.decode import scaled, unscaled


def draw(run: Run, config: TrainConfig, photos: PhotoSet, metrics: dict[str, Any]) -> None:
    """Write figures/: learning curves, confusion matrix, a sheet of augmented training photos."""
    from qc_lightning.report import charts

    charts.save(charts.learning_curves(run.read_history()), run.pictures / "learning_curves.png")
    part = metrics.get("test") or metrics["train"]
    charts.save(charts.confusion_matrix(part, config.data.classes.names), run.pictures / "confusion_matrix.png")
    shown = photos.indices("train")[:: max(1, len(photos.indices("train")) // 8)][:8]
    torch.manual_seed(config.seed)
    pixels = scaled(torch.from_numpy(photos.pixels(shown)))
    changed = [unscaled(augment(pixels, config.augment)).numpy() for _ in range(3)]
    captions = ["as decoded"] * len(shown) + ["augmented"] * 3 * len(shown)
    sheet = np.concatenate([photos.pixels(shown), *changed])
    charts.save(charts.contact_sheet(sheet, captions), run.pictures / "augmentation.png")
    if config.augment.probe:
        charts.save(charts.contact_sheet(*probe(config, photos)), run.pictures / "augment_probe.png")


def probe(config: TrainConfig, photos: PhotoSet) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Apply each augmentation to three Incorrect training photos: pictures uint8 [n, 3, H, W] and captions.

    Each row is one photo under one policy: as it is, then seven draws.
    """
    train = photos.indices("train")
    bad = train[photos.labels[train] == 1]
    images = photos.pixels(bad[:: max(1, len(bad) // 3)][:3])
    pictures, captions = [], []
    for name, policy in {"chosen": config.augment, **augmentations()}.items():
        torch.manual_seed(config.seed)
        for photo in images:
            image = scaled(torch.from_numpy(photo))[None].expand(7, -1, -1, -1)
            changed = augment(image, policy)
            if policy.mixup:
                changed = mixup(changed, torch.ones(7), policy.mixup)[0]
            pictures += [photo[None], unscaled(changed).numpy()]
            captions += ["as decoded", *[name] * 7]
    return np.concatenate(pictures), captions
