"""The paper's recipe as a loop of plain torch over decoded pixels, and the limits of the machine.

`python benchmarks/bare_loop.py ROOT CACHE` with ROOT as for naive.py and CACHE the folder given as data.cache_dir: the
same tensors, augmentation and fused Adam as `qc_lightning.train`, without Lightning, checkpoints or metrics. `--limits`
times decoding alone and forward and backward alone instead.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from qc_lightning.config import AugmentConfig
from qc_lightning.config.presets import augmentations
from qc_lightning.data.augment import augment
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.pixels.pixel_store import open_store
from qc_lightning.models.mlp import MLP

BATCH = 32


def load(root: Path, cache: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Pixels uint8 [n, 3, 64, 64] and labels float [n] of train and test."""
    paths = sorted(root.glob("t*/*/*.png"))
    store = open_store(paths, DecodeSettings(), "disk", cache / "pixels")
    subsets = {}
    for subset in ("train", "test"):
        rows = [row for row, path in enumerate(paths) if path.parts[-3] == subset]
        label = torch.tensor([float(paths[row].parts[-2] == "Incorrect") for row in rows])
        subsets[subset] = (torch.from_numpy(store.pixels(rows)), label)
    return subsets


def train(pixels: Tensor, label: Tensor, epochs: int, augmentation: AugmentConfig) -> nn.Module:
    network = MLP((64, 64), (128, 64), 0.5)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    loss_of = nn.BCEWithLogitsLoss()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(label)), BATCH):
            image = augment(pixels[rows].float() / 255, augmentation)
            adam.zero_grad()
            loss_of(network(image), label[rows]).backward()
            adam.step()
    return network


def limits(root: Path, pixels: Tensor, label: Tensor) -> dict[str, float]:
    """Seconds to decode every photo on all cores, and to send the training photos forward and backward."""
    begun = time.perf_counter()
    open_store(sorted(root.glob("t*/*/*.png")), DecodeSettings(), "ram", Path())
    decode = time.perf_counter() - begun
    network, loss_of = MLP((64, 64), (128, 64), 0.5), nn.BCEWithLogitsLoss()
    parts = zip(torch.split(pixels, BATCH), torch.split(label, BATCH), strict=True)
    batches = [(image.float() / 255, true) for image, true in parts]
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        for image, true in batches:
            network.zero_grad()
            loss_of(network(image), true).backward()
        seconds.append(time.perf_counter() - begun)
    return {"decode_s": decode, "forward_backward_s": sorted(seconds)[len(seconds) // 2]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limits", action="store_true")
    asked = parser.parse_args()
    torch.manual_seed(0)
    subsets = load(asked.root, asked.cache)
    if asked.limits:
        print(json.dumps(limits(asked.root, *subsets["train"])))
        return
    network = train(*subsets["train"], asked.epochs, augmentations()["paper"]).eval()
    pixels, label = subsets["test"]
    with torch.inference_mode():
        logit = torch.cat([network(image.float() / 255) for image in torch.split(pixels, BATCH)])
    print(json.dumps({"test_accuracy": ((logit > 0) == (label == 1)).float().mean().item()}))


if __name__ == "__main__":
    main()
