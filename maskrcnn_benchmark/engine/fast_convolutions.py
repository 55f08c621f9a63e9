"""Which convolutions a training computes with: ``SOLVER.CONV_3X3``."""

from typing import Final

import torch
from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.modes.fused_layers import WinogradConv2d
from maskrcnn_benchmark.layers import MinimalConv2d

_PLAIN: Final = "plain"
_FAST: Final = "fast"
_AUTO: Final = "auto"


def choose_convolutions(model: nn.Module, how: str, device: torch.device) -> None:
    """Let 3 x 3 convolutions of a model compute as SOLVER.CONV_3X3 says, in training alone.

    Parameters, their names and what evaluation computes stay as they are.

    Args:
        model: it is changed.
        how: "plain", as PyTorch computes them; "fast", by minimal filtering where that is faster;
            or "auto": fast where ``device`` has a kernel for it, else plain.
        device: where the training runs.

    Raises:
        ConfigError: another name, or "fast" without a kernel.
    """
    if how not in (_PLAIN, _FAST, _AUTO):
        raise ConfigError(
            f"SOLVER.CONV_3X3: expected one of {_AUTO!r}, {_FAST!r}, {_PLAIN!r}, got {how!r}"
        )
    has_kernel = WinogradConv2d.has_kernel(device)
    if how == _FAST and not has_kernel:
        raise ConfigError(
            "SOLVER.CONV_3X3: 'fast' needs AVX2 or AVX512 and the compiled library; "
            f"training on {device} has not both (`centermask env` says more): set 'auto' "
            "or 'plain'"
        )
    is_fast = how != _PLAIN and has_kernel
    former, new = (nn.Conv2d, MinimalConv2d) if is_fast else (MinimalConv2d, nn.Conv2d)
    for module in model.modules():
        if type(module) is former and MinimalConv2d.suits(module):
            # The object stays, for all that knows it.
            module.__class__ = new
