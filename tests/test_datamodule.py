"""Batches: every photo once, in an order set by seed and epoch, in equal shares per process."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qc_lightning.data.datamodule import Batch, BatchSampler
from qc_lightning.models.mlp import MLP
from qc_lightning.training.classifier import Classifier
from settings import model_settings, optim_settings


def drawn(sampler: BatchSampler) -> list[int]:
    return [int(i) for batch in sampler for i in batch]


@given(count=st.integers(1, 200), size=st.integers(1, 40), world=st.integers(1, 4))
def test_in_order_every_photo_comes_once_over_all_processes(count: int, size: int, world: int) -> None:
    indices = np.arange(1000, 1000 + count)
    shares = [BatchSampler(indices, size, None, rank, world) for rank in range(world)]
    assert sorted(i for share in shares for i in drawn(share)) == indices.tolist()
    assert all(len(share) == len(list(share)) for share in shares)


@given(count=st.integers(4, 200), size=st.integers(1, 40), world=st.integers(1, 4), epoch=st.integers(0, 5))
def test_shuffled_shares_are_equal_and_cover_all(count: int, size: int, world: int, epoch: int) -> None:
    shares = [BatchSampler(np.arange(count), size, 3, rank, world) for rank in range(world)]
    for share in shares:
        share.set_epoch(epoch)
    lists = [drawn(share) for share in shares]
    assert len({len(share) for share in lists}) == 1, "a process that ran out early would hang the others"
    assert {i for share in lists for i in share} == set(range(count))


@given(count=st.integers(1, 200), size=st.integers(2, 40))
def test_no_training_batch_of_one_photo_where_batch_norms_learn(count: int, size: int) -> None:
    """The last photo of 33 in batches of 32 joins the one batch; every photo comes once."""
    sampler = BatchSampler(np.arange(count), size, 3, 0, 1, least=2)
    sizes = [len(batch) for batch in sampler]
    assert len(sampler) == len(sizes)
    assert sorted(drawn(sampler)) == list(range(count))
    assert min(sizes) > 1 or count == 1
    assert max(sizes) <= size + 1


def test_order_follows_seed_and_epoch() -> None:
    sampler = BatchSampler(np.arange(50), 8, 3, 0, 1)
    first = drawn(sampler)
    assert first == drawn(sampler)
    sampler.set_epoch(1)
    assert drawn(sampler) != first
    assert drawn(BatchSampler(np.arange(50), 8, 4, 0, 1)) != first


def test_the_papers_network_has_its_number_of_weights() -> None:
    """12288*128 + 128 + 128*64 + 64 + 64 + 1 weights."""
    network = MLP((64, 64), (128, 64), 0.5)
    assert sum(p.numel() for p in network.parameters()) == 12288 * 128 + 128 + 128 * 64 + 64 + 64 + 1
    assert network(torch.rand(5, 3, 64, 64)).shape == (5,)


def test_loss_is_binary_cross_entropy_by_hand() -> None:
    """-(log p) for an Incorrect and -(log(1 - p)) for a Correct photo, averaged."""
    model = model_settings("model=mlp input_size=8 hidden=[4] dropout=0.0")
    classifier = Classifier(model, optim_settings(), (8, 8))
    batch = Batch(torch.rand(6, 3, 8, 8), torch.tensor([1.0, 0, 1, 0, 0, 1]), torch.arange(6))
    p = torch.sigmoid(classifier(batch.image))
    by_hand = -(batch.label * p.log() + (1 - batch.label) * (1 - p).log()).mean()
    assert classifier.training_step(batch, 0).item() == pytest.approx(by_hand.item(), abs=1e-6)
