"""Random weights whose maps have the sizes of those of a trained model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d as TorchvisionFrozenNorm

from maskrcnn_benchmark.layers import FrozenBatchNorm2d


@contextmanager
def fitting_norms(model: nn.Module) -> Iterator[None]:
    """A block in which the statistics of all batch norms become those of what they are given.

    Frozen batch norms that do nothing let the maps of a deep network grow without bounds.
    """
    hooks = [
        module.register_forward_pre_hook(_fit_norm)
        for module in model.modules()
        if isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d | TorchvisionFrozenNorm)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _fit_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
    statistics = dict(norm.named_buffers(recurse=False))
    statistics["running_mean"].copy_(mean)
    statistics["running_var"].copy_(variance + 1e-3)
