"""Weights from a seed, as a trained network's are: signals neither die out nor explode."""

from collections.abc import Callable

import torch
from torch import nn

_BATCH = 4


def drawn(make: Callable[[], nn.Module], size: int, seed: int = 0) -> nn.Module:
    """The network in eval mode, float32, its weights taking no gradient.

    Convolutions are drawn as He et al. 2015 do, norms are given weights and biases unlike 1
    and 0, and BatchNorms the statistics of a batch of noise [4, 3, size, size].
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make().eval().requires_grad_(False)
        for module in network.modules():
            _draw(module)
        _measure(network, size)
    return network


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.normal_(module.bias, 0, 0.2)


@torch.no_grad()
def _measure(network: nn.Module, size: int) -> None:
    """Gives BatchNorms the mean and variance of what reaches them."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    network(torch.randn(_BATCH, 3, size, size))
    for norm in norms:
        norm.eval()
