"""Why some models are not exported."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers.deform_conv_modules import DeformConv, ModulatedDeformConv

_FAMILIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rpn": "models of two stages (proposals, then a box head) are not written yet",
        "tensormask": "its masks have many sizes and lie in windows, not in the boxes",
        "yolact": "its masks are mixtures of maps of the whole image, not masks in boxes",
    }
)
_KNOWN_FAMILIES: Final = ("fcos", "retinanet")
_KNOWN_HEADS: Final = (("mask",), ("mask", "maskiou"), ())


def check_architecture(family: str, heads: Sequence[str]) -> None:
    """Raise ConfigError unless models of these parts can be exported."""
    if family not in _KNOWN_FAMILIES:
        reason = _FAMILIES.get(family, f"no export knows the dense detector {family!r}")
        raise ConfigError(f"this model cannot be exported: {reason}")
    if tuple(heads) not in _KNOWN_HEADS:
        raise ConfigError(
            f"this model cannot be exported: no export knows the heads {', '.join(heads)} together"
        )


def check_layers(model: nn.Module) -> None:
    """Raise ConfigError unless all layers of the model can be exported."""
    for name, module in model.named_modules():
        if isinstance(module, DeformConv | ModulatedDeformConv):
            raise ConfigError(
                f"this model cannot be exported: {name} is a deformable convolution, which ONNX "
                "Runtime does not compute on the CPU"
            )
