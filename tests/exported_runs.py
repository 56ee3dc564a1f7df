"""Runs with random networks, and their exports."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from conftest import save_photo
from qc_lightning.config import ModelConfig
from qc_lightning.core.atomic import write_text
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.deployment.export_run import export_inspector
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.inference.checkpoint import complete_checkpoint
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.decision import Decision
from qc_lightning.models.registry import build_network
from settings import model_settings

PAPER = model_settings("model=mlp input_size=16 hidden=[8]")


def network_of(model: ModelConfig, decode: DecodeSettings, seed: int = 0) -> nn.Module:
    """A network with random weights whose logits are as large as those of trained networks."""
    torch.manual_seed(seed)
    network = build_network(model, decode.tile, load_weights=False, tiles=(decode.rows, decode.columns))
    with torch.no_grad():
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            if name in ("head.pooled.linear.weight", "head.patches.linear.weight"):
                value.normal_(0, 3)
            elif name == "head.pooled.mean":
                value.normal_(0, 0.1)
            elif name.startswith("layers.") and name.endswith("weight"):
                value.mul_(5)
    return network.eval().requires_grad_(False)


def run_of(
    folder: Path, model: ModelConfig, decode: DecodeSettings, decision: Decision | None = None, count: int = 16
) -> Run:
    """A run folder with a random network, twelve photos in the validation part and the others in the test part."""
    run = Run(folder / "run")
    rows = []
    for seed in range(count):
        name = ("Correct", "Incorrect")[seed % 2]
        path = save_photo(folder / "photos" / name / f"{seed}.png", bright=seed % 2 == 1, seed=seed)
        rows.append(
            (path, name, path.stem, "test" if seed >= 12 else "val", hashlib.sha256(path.read_bytes()).hexdigest())
        )
    run.best.parent.mkdir(parents=True)
    state = {f"network.{key}": value for key, value in network_of(model, decode).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"model": asdict(model)}}, run.best)
    complete_checkpoint(run.best, decode, decision or Decision(0.5, "test"), ("Correct", "Incorrect"))
    write_text(run.split, csv_text(("path", "label", "group", "subset", "sha256"), rows))
    return run


def exported(path: Path, model: ModelConfig = PAPER, size: int = 16) -> Path:
    """The export of a run with a random network, next to the run."""
    run = run_of(path.with_suffix(""), model, DecodeSettings(size, size))
    export_inspector(Inspector.load(run, "cpu"), {"threshold": 0.5}, gate_photos(run), path)
    return path
