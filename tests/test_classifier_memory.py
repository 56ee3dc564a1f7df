"""The classifier's memory of an epoch."""

import torch

from qc_lightning.data.datamodule import Batch
from qc_lightning.training.classifier import Classifier
from settings import model_settings, optim_settings


def test_an_epoch_of_many_steps_is_kept_in_few_tensors_and_in_order() -> None:
    """Thousands of small tensors between the large tensors of the steps cost 1.5 GB at 70,000 photos."""
    model = Classifier(model_settings("model=mlp"), optim_settings(), (64, 64))
    image, most = torch.empty(0), 0
    for step in range(1000):
        position, label = torch.tensor([2 * step, 2 * step + 1]), torch.tensor([0.0, 1.0])
        model._keep("train", Batch(image, label, position), position / 7)
        most = max(most, len(model._answers["train"]))
    assert most < 100
    index, logit, label = (torch.cat(part) for part in zip(*model._answers["train"], strict=True))
    assert index.tolist() == list(range(2000))
    torch.testing.assert_close(logit, torch.arange(2000) / 7)
    assert label.tolist() == [0.0, 1.0] * 1000
