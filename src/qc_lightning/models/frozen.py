"""Train a frozen network: its features once per photo, kept on disk, then the exact head."""

import hashlib
import os
import shutil
import zipfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from tqdm import tqdm

from qc_lightning.callbacks import HISTORY_COLUMNS
from qc_lightning.config import TrainConfig
from qc_lightning.data.photos import PhotoSet
from qc_lightning.data.split import folds
from qc_lightning.errors import UserError
from qc_lightning.evaluation.results import Scores
from qc_lightning.models.classifier import Classifier
from qc_lightning.models.imbalance import chosen
from qc_lightning.models.logistic import LogisticHead
from qc_lightning.models.network import Network
from qc_lightning.run import Run, csv_text, replacing, write_text

FOLDS = 5


def extract_features(network: Network, photos: PhotoSet, device: torch.device, cache: Path | None) -> Tensor:
    """Features of every photo of the set, float32 [n, width] on the CPU.

    Args:
        network: in eval mode, on `device`.
        photos: decoded photos.
        device: where to compute.
        cache: folder of the features that earlier runs have computed, None to keep nothing.
    """
    file = cache / f"{_key(network, photos)}.npz" if cache is not None else None
    if file is not None and (known := _load(file, len(photos.photos), network.width)) is not None:
        return known
    count = len(photos.photos)
    features = torch.empty(count, network.width)
    # On a CPU one thread a core, each with a photo of its own: nobody waits for the others, the maps stay so small that
    # the system does not take their memory back after every layer (which cost a third more time at 300 px), and a photo
    # gets the same features to the last bit whichever photos come with it, here and in a later prediction.
    alone = device.type != "cpu"
    at_once, workers = (64, 1) if alone else (1, len(os.sched_getaffinity(0)))

    def compute(start: int) -> None:
        if not alone:
            torch.set_num_threads(1)  # of this worker thread
        rows = np.arange(start, min(start + at_once, count))
        with torch.inference_mode():
            image = torch.from_numpy(photos.pixels(rows)).to(device).float() / 255
            features[start : start + at_once] = network.features(image).cpu()
        bar.update(len(rows))

    with tqdm(total=count, desc="features", unit="photo", delay=1.0) as bar, ThreadPoolExecutor(workers) as pool:
        deque(pool.map(compute, range(0, count, at_once)), maxlen=0)
    if file is not None:
        with replacing(file) as temporary, temporary.open("wb") as out:
            np.savez(out, features=features.numpy())
    return features


def fit_frozen(trainer: Trainer, model: Classifier, photos: PhotoSet, run: Run, config: TrainConfig) -> Scores:
    """Compute the features, fit the head, save the checkpoint and a one-row history.

    Without a validation part its place is taken by out-of-fold logits of the training photos: each from a head that has
    not seen the photo or its group.

    Returns:
        Logits of each subset, `val` being the out-of-fold ones when there is no validation part.

    Raises:
        UserError: several processes were asked for.
    """
    if trainer.world_size > 1:
        raise UserError("model.mode=frozen works in one process: leave out trainer=ddp")
    network = cast(Network, model.network)
    device = trainer.strategy.root_device
    cache = Path(config.data.cache_dir).expanduser() / "features" if config.data.cache == "disk" else None
    features = extract_features(network.eval().to(device), photos, device, cache)
    head = network.head.cpu()
    assert isinstance(head, LogisticHead)
    balance = chosen(config.imbalance, photos.counts()["train"]) == "pos_weight"
    out_of_fold = fit_head(head, features, photos, config.model.penalty, balance, config.seed)
    with torch.inference_mode():
        logit = head(features).squeeze(-1)
    scores: dict[str, tuple[Tensor, Tensor]] = {}
    for subset in photos.counts():
        rows = torch.from_numpy(photos.indices(subset))
        scores[subset] = (rows, logit[rows])
    if "val" not in scores and out_of_fold is not None:
        scores["val"] = (scores["train"][0], out_of_fold)
    _save(trainer, model, run, scores, photos)
    return scores


def fit_head(
    head: LogisticHead, features: Tensor, photos: PhotoSet, penalty: float, balance: bool, seed: int
) -> Tensor | None:
    """Fit the head to the training part; return its out-of-fold logits, or None when it cannot be cross-validated."""
    rows = photos.indices("train")
    fold = np.array(folds([photos.photos[i] for i in rows], FOLDS, seed), dtype=np.int64)
    label = torch.from_numpy(photos.labels[rows])
    # a single fold would leave nothing to fit on: fit to all, and have no out-of-fold logits
    alone = not fold.any()
    logit = head.fit(features[rows], label, penalty, fold + alone, balance)
    return None if alone else logit


def _save(trainer: Trainer, model: Classifier, run: Run, scores: Scores, photos: PhotoSet) -> None:
    trainer.strategy.connect(model)  # what save_checkpoint reads; there is no fit to do it
    with replacing(run.last) as temporary:
        trainer.save_checkpoint(temporary)
    with replacing(run.best) as temporary:
        shutil.copyfile(run.last, temporary)
    row: list[object] = [0]
    for subset in ("train", "val"):
        index, logit = scores.get(subset, (torch.empty(0, dtype=torch.int64), torch.empty(0)))
        label = torch.from_numpy(photos.labels)[index].float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, label)
        right = ((logit >= 0) == (label == 1)).float().mean()
        row += [loss.item(), right.item()] if len(index) else [None, None]
    write_text(run.history, csv_text(HISTORY_COLUMNS, [[*row, None]]))


def _load(file: Path, rows: int, width: int) -> Tensor | None:
    try:  # a zip checks what it reads, so a damaged file is computed anew
        features = np.load(file, allow_pickle=False)["features"]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    fits = features.shape == (rows, width) and features.dtype == np.float32 and bool(np.isfinite(features).all())
    return torch.from_numpy(features) if fits else None


def _key(network: Network, photos: PhotoSet) -> str:
    """What the features depend on: the backbone's weights and settings, and the decoded photos in their order."""
    digest = hashlib.sha256(repr((3, network.recipe, photos.decode)).encode())  # 3: raise it when features change
    for name, value in sorted(network.backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    for photo in photos.photos:
        digest.update((photo.sha256 or "").encode())
    return digest.hexdigest()[:32]
