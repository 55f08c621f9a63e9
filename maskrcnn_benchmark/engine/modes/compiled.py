"""Modes whose dense parts are compiled: for each mode one more, with "+compile" behind its name."""

import copy
import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.modes.fast import (
    detect_fast,
    detect_in_bfloat16,
    detect_in_int16,
)
from maskrcnn_benchmark.engine.modes.fused_layers import FusedConv2d
from maskrcnn_benchmark.engine.modes.fused_linear import FusedLinear
from maskrcnn_benchmark.engine.modes.plain import detect_plainly
from maskrcnn_benchmark.engine.modes.registry import INFERENCE_MODES, Detect, InferenceMode
from maskrcnn_benchmark.modeling.dense.stage import DenseStage

logger = logging.getLogger(__name__)

SUFFIX: Final = "+compile"
_MODES: Mapping[str, InferenceMode] = MappingProxyType(
    {
        "plain": detect_plainly,
        "fast": detect_fast,
        "int16": detect_in_int16,
        "bf16": detect_in_bfloat16,
    }
)

Compile = Callable[[nn.Module], Callable[..., Any]]


def compile_for_any_size(part: nn.Module) -> Callable[..., Any]:
    """The part as PyTorch compiles it, for maps of any size.

    Nothing is padded to a few sizes: group norms reach over whole maps, so that padding would
    change what is found. PyTorch keeps what it made on disk; the next process is ready sooner.
    """
    compiled: Callable[..., Any] = torch.compile(part, dynamic=True)
    return compiled


class CompiledPart(nn.Module):
    """A part that is compiled when it is first called; the log says how long that took.

    Args:
        part: in evaluation mode; its results are those of the compiled one up to rounding.
        compile_part: makes the compiled one.
    """

    def __init__(self, part: nn.Module, compile_part: Compile = compile_for_any_size) -> None:
        super().__init__()
        self.part = part
        self._compiled = compile_part(part)
        self._is_new = True

    def forward(self, *inputs: Any) -> Any:  # noqa: ANN401 - of the part
        """What the part returns.

        Raises:
            ConfigError: it cannot be compiled here.
        """
        if not self._is_new:
            return self._compiled(*inputs)
        name, start = type(self.part).__name__, time.perf_counter()
        try:
            outputs = self._compiled(*inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason, *_ = str(error).strip().split("\n\n")
            raise ConfigError(
                f"TEST.INFERENCE_MODE: {name} cannot be compiled on this machine (is there a C++ "
                f"compiler?); use the same mode without {SUFFIX}. PyTorch says: {reason}"
            ) from error
        self._is_new = False
        logger.info("compiled %s in %.1f s", name, time.perf_counter() - start)
        return outputs


def compile_dense_parts(model: nn.Module, compile_part: Compile = compile_for_any_size) -> None:
    """Put compiled ones in the place of the backbone and of the heads of dense stages.

    What follows them depends on what was found, and stays as it is.

    Args:
        model: in evaluation mode; it is changed.
        compile_part: makes the compiled ones.
    """
    for layer in model.modules():
        if isinstance(layer, FusedConv2d | FusedLinear):
            layer.unpack()
    for stage in list(model.modules()):
        if isinstance(stage, DenseStage):
            stage.head = CompiledPart(stage.head, compile_part)
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        model.backbone = CompiledPart(backbone, compile_part)


def with_compiled_parts(
    make_detect: InferenceMode, compile_part: Compile = compile_for_any_size
) -> InferenceMode:
    """The mode that computes as another one, with compiled dense parts.

    Args:
        make_detect: the other mode; what it makes is a module.
        compile_part: makes the compiled ones.
    """

    def detect_with_compiled_parts(model: nn.Module, device: torch.device) -> Detect:
        detect = make_detect(model, device)
        assert isinstance(detect, nn.Module)
        # The model itself stays as it is.
        twin = copy.deepcopy(model) if detect is model else detect
        twin = getattr(twin, "_orig_mod", twin)
        compile_dense_parts(twin, compile_part)
        return twin

    return detect_with_compiled_parts


def modes_without_compiling() -> list[str]:
    """Names of the modes that are ready within seconds, "plain" first, then "fast"."""
    names = [name for name in INFERENCE_MODES if not name.endswith(SUFFIX)]
    return sorted(names, key=lambda name: (name != "plain", name != "fast", name))


for _name, _mode in _MODES.items():
    INFERENCE_MODES.register(_name + SUFFIX, with_compiled_parts(_mode))
