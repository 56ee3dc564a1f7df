"""Speed must not change results: the same training written in a slow, plain way gives the same metrics."""

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score
from torch import Tensor, nn

SIZE, EPOCHS, BATCH, RATE, SEED = 24, 4, 8, 1e-3, 3


def opened(path: str) -> Tensor:
    """A photo decoded by Pillow alone: reduced to SIZE with antialiasing, float [3, SIZE, SIZE] in [0, 1]."""
    photo = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255


OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": partial(torch.optim.SGD, momentum=0.9)}
DECAY = 0.1


def slow_logits(rows: list[dict[str, str]], name: str) -> Tensor:
    """Each photo decoded when needed, one at a time; torch's plain optimizer; no Lightning, no cache."""
    label = torch.tensor([float(row["label"] == "Incorrect") for row in rows])
    learnt = np.flatnonzero([row["subset"] == "train" for row in rows])
    torch.manual_seed(SEED)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = OPTIMIZERS[name](network.parameters(), lr=RATE, weight_decay=DECAY, fused=False, foreach=False)
    for epoch in range(EPOCHS):
        order = np.random.default_rng((SEED, epoch)).permutation(learnt)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            image = torch.stack([opened(rows[row]["path"]) for row in batch])
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(network(image)[:, 0], label[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        return torch.cat([network(opened(row["path"])[None])[:, 0] for row in rows])


@pytest.mark.parametrize(("cache", "optimizer"), [("disk", "adam"), ("ram", "sgd"), ("off", "adamw")])
def test_a_run_ends_at_the_figures_of_a_slow_reference(
    train: Callable[..., tuple[int, Path, str]], photo_root: Path, cache: str, optimizer: str
) -> None:
    settings = [f"data.image_size={SIZE}", "model.hidden=[16]", "model.dropout=0", "augment=none", f"seed={SEED}"]
    settings += [f"optim.name={optimizer}", f"optim.weight_decay={DECAY}"]
    settings += [f"data.batch_size={BATCH}", f"optim.lr={RATE}", f"trainer.max_epochs={EPOCHS}", "report=false"]
    code, run, output = train(
        "data=folder", f"data.root={photo_root}", f"data.cache={cache}", "data.split.val=0", *settings
    )
    assert code == 0, output
    with (run / "split.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
    tested = np.array([row["subset"] == "test" for row in rows])
    probability = torch.sigmoid(slow_logits(rows, optimizer)).double().numpy()[tested]
    label = np.array([row["label"] == "Incorrect" for row in rows])[tested]

    with (run / "predictions.csv").open(newline="") as file:
        stored = {row["path"]: float(row["probability"]) for row in csv.DictReader(file)}
    found = np.array([stored[row["path"]] for row, test in zip(rows, tested, strict=True) if test])
    np.testing.assert_allclose(found, probability, rtol=0, atol=2e-6)
    figures = json.loads((run / "metrics.json").read_text())["test"]
    (passed, overkill), (escape, caught) = confusion_matrix(label, probability >= 0.5)
    for name, expected in {
        "auroc": roc_auc_score(label, probability),
        "average_precision": average_precision_score(label, probability),
        "accuracy": (passed + caught) / len(label),
        "escape_rate": escape / (escape + caught),
        "overkill_rate": overkill / (overkill + passed),
    }.items():
        assert figures[name]["value"] == pytest.approx(expected, abs=1e-6), name
