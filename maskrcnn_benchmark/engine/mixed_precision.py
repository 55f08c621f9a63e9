"""The type that a training computes in: ``SOLVER.AMP``."""

import logging
from typing import Final

import torch

from maskrcnn_benchmark.config.errors import ConfigError

logger = logging.getLogger(__name__)

_TYPES: Final = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_AUTO: Final = "auto"
# Names that PyTorch has for instructions of processors.
_BFLOAT16_INSTRUCTIONS: Final = ("avx512_bf16", "amx_bf16", "bf16")


def training_dtype(amp: str, device: torch.device) -> torch.dtype:
    """The type in which layers compute that may: float32, bfloat16 or float16.

    Args:
        amp: "off", "bf16", "fp16", or "auto": bf16 where ``device`` has instructions for it, else
            off.
        device: where the training runs.

    Raises:
        ConfigError: another name, or a type that the device cannot be trained in.
    """
    if amp == _AUTO:
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    if amp not in _TYPES:
        expected = ", ".join(map(repr, (*_TYPES, _AUTO)))
        raise ConfigError(f"SOLVER.AMP: expected one of {expected}, got {amp!r}")
    dtype = _TYPES[amp]
    if dtype == torch.float16 and device.type != "cuda":
        raise ConfigError(
            f"SOLVER.AMP: 'fp16' trains on CUDA devices only, but this training runs on {device}; "
            "set 'bf16' or 'off'"
        )
    if dtype == torch.bfloat16 and not _has_bfloat16(device):
        if device.type == "cuda":
            raise ConfigError(
                f"SOLVER.AMP: 'bf16' was asked for, but {torch.cuda.get_device_name(device)} does "
                "not compute in it; set 'fp16' or 'off'"
            )
        logger.warning(
            "SOLVER.AMP is 'bf16', but this processor has no instructions for it: the training "
            "will be SLOWER than with 'off'"
        )
    return dtype


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Old versions of PyTorch do not tell.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in _BFLOAT16_INSTRUCTIONS)
