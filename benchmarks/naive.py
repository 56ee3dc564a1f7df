"""A typical script: ImageFolder, DataLoader, a LightningModule. `python benchmarks/naive.py ROOT`.

ROOT has train/ and test/, each with a folder per class. The recipe is the paper's, as in conf/experiment/paper.yaml.
"""

import argparse
import json
from pathlib import Path

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score, BinaryPrecision, BinaryRecall
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2


class Net(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * 64 * 64, 128), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(64, 1),
        )  # fmt: skip
        self.loss = nn.BCEWithLogitsLoss()
        self.train_accuracy = BinaryAccuracy()
        self.metrics = MetricCollection(
            [BinaryAccuracy(), BinaryPrecision(), BinaryRecall(), BinaryF1Score(), BinaryAUROC()]
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = self.layers(image)
        return logit.squeeze(1)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        image, label = batch
        logit = self(image)
        loss: torch.Tensor = self.loss(logit, label.float())
        self.train_accuracy(logit.sigmoid(), label)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def test_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        image, label = batch
        logit = self(image)
        self.metrics.update(logit.sigmoid(), label)
        self.log("test_loss", self.loss(logit, label.float()))
        self.log_dict(self.metrics)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()

    L.seed_everything(0)
    to_tensor = [v2.Resize((64, 64)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    augment = [
        v2.RandomAffine(degrees=15, scale=(0.9, 1.1)),
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
    ]
    train = ImageFolder(asked.root / "train", v2.Compose([*to_tensor, *augment]))
    test = ImageFolder(asked.root / "test", v2.Compose(to_tensor))
    persistent = asked.workers > 0
    train_loader = DataLoader(
        train, batch_size=32, shuffle=True, num_workers=asked.workers, persistent_workers=persistent
    )
    test_loader = DataLoader(test, batch_size=32, num_workers=asked.workers)

    model = Net()
    trainer = L.Trainer(max_epochs=asked.epochs, default_root_dir=asked.root / "lightning")
    trainer.fit(model, train_loader)
    figures = trainer.test(model, test_loader)
    print(json.dumps(figures[0]))


if __name__ == "__main__":
    main()
