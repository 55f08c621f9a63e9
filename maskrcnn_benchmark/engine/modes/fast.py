"""The same detections from fewer and faster layers."""

import torch
from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.modes.fused_layers import WinogradConv2d
from maskrcnn_benchmark.engine.modes.registry import INFERENCE_MODES, Detect
from maskrcnn_benchmark.engine.modes.rewrite import rewrite


@INFERENCE_MODES.register("fast")
def detect_fast(model: nn.Module, device: torch.device) -> Detect:
    """A copy in 32 bits: norms folded into convolutions, what follows these done by them."""
    return rewrite(model, device, torch.float32)


@INFERENCE_MODES.register("bf16")
def detect_in_bfloat16(model: nn.Module, device: torch.device) -> Detect:
    """The copy of ``fast`` with weights and maps of 16 bits.

    Where the processor has instructions for it, 3 x 3 convolutions multiply integers of 16 bits.

    Raises:
        ConfigError: the device does not compute in bfloat16.
    """
    check_bfloat16(device)
    in_integers = WinogradConv2d.has_kernel(device, torch.int16)
    products = torch.int16 if in_integers else torch.float32
    return rewrite(model, device, torch.bfloat16, products)


@INFERENCE_MODES.register("int16")
def detect_in_int16(model: nn.Module, device: torch.device) -> Detect:
    """The copy of ``fast`` whose convolutions and linear layers multiply integers of 16 bits.

    These are 3 x 3 convolutions with stride 1, and with enough channels those of single cells.

    Raises:
        ConfigError: the device has no instructions for it.
    """
    if not WinogradConv2d.has_kernel(device, torch.int16):
        raise ConfigError(
            "TEST.INFERENCE_MODE: 'int16' needs a processor that adds up products of 16-bit "
            f"integers (AVX-512 VNNI), which {device} is not here; use 'fast' or 'plain'"
        )
    return rewrite(model, device, torch.float32, torch.int16)


def check_bfloat16(device: torch.device) -> None:
    """Raise ConfigError unless a device has instructions for bfloat16."""
    if not _computes_in_bfloat16(device):
        raise ConfigError(
            f"TEST.INFERENCE_MODE: 'bf16' needs a device that computes in bfloat16, which {device} "
            "is not; use 'fast' or 'plain'"
        )


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
