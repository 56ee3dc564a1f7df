"""Blocks of photos: on a CPU a photo's result does not depend on the number of photos in the batch."""

import pytest
import torch
from torch import Tensor

from qc_lightning.models.mlp import MLP
from qc_lightning.models.network import block_of
from qc_lightning.models.tiles import blockwise, smallest_block


@pytest.mark.parametrize(("alike_from", "smallest"), [(0, 4), (4, 4), (5, 8), (13, 16), (17, 16)])
def test_few_photos_go_in_the_smallest_block_that_gives_the_same_digits(alike_from: int, smallest: int) -> None:
    def forward(pixels: Tensor) -> tuple[Tensor, ...]:
        total = pixels.double().sum((1, 2))
        return total, total + len(pixels) * 1e-9 * (len(pixels) < alike_from)

    assert smallest_block(forward, (2, 3), 16) == smallest


def test_a_network_that_takes_one_photo_at_a_time_keeps_doing_so() -> None:
    assert smallest_block(lambda pixels: (pixels.double().sum(1),), (5,), 1) == 1


def test_any_number_of_photos_gets_the_same_digits() -> None:
    torch.manual_seed(0)
    network = MLP((32, 32), [64, 16], 0.5).eval()
    pixels = torch.randint(256, (37, 3, 32, 32)).byte()

    def forward(some: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return (network(some / 255),)

    block = block_of(network)
    few = smallest_block(forward, (3, 32, 32), block)
    (wanted,) = blockwise(forward, pixels, block)
    for count in range(1, 37):
        (got,) = blockwise(forward, pixels[:count], few if count <= few else block)
        assert torch.equal(got, wanted[:count]), count
