"""Networks for tests: from the registry with random weights, and photos for them."""

import torch
from torch import Tensor, nn

from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from settings import model_settings

PLAIN = ([0.0] * 3, [1.0] * 3)


def built(*overrides: str, size: int = 224) -> Network:
    network = build_network(model_settings(*overrides), (size, size))
    assert isinstance(network, Network)
    return network.eval()


def scratch(library: str, name: str, *overrides: str, size: int = 224, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return built(f"model={library}", f"model.name={name}", "model.mode=scratch", *overrides, size=size)


def photos(size: int = 224, count: int = 2) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def stir(network: nn.Module) -> None:
    """Running statistics that differ between norm layers, as after training."""
    generator = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
