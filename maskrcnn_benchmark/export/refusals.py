"""Why some models are not exported."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.export.metadata import Kind
from maskrcnn_benchmark.layers.deform_conv_modules import DeformConv, ModulatedDeformConv

_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rpn": "it proposes regions alone, and has no classes",
        "shapemask": "its masks lie in boxes of their own, larger than those of the objects",
        "tensormask": "its masks have many sizes and lie in windows, not in the boxes",
        "yolact": "its masks are mixtures of maps of the whole image, not masks in boxes",
    }
)
_KNOWN: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        "fcos": ((), ("mask",), ("mask", "maskiou")),
        "retinanet": ((), ("mask",), ("mask", "maskiou")),
        "rpn": (
            ("box",),
            ("box", "mask"),
            ("box", "mask", "maskiou"),
            ("box", "keypoint"),
            ("box", "mask", "keypoint"),
        ),
    }
)
"""Dense detectors, and the heads that each may have behind it."""


def check_architecture(kind: Kind, family: str, heads: Sequence[str]) -> None:
    """Raise ConfigError unless models of these parts can be exported as files of this kind."""
    known = _KNOWN.get(family, ())
    # Regions alone have no classes, and the network of any other model can be written.
    is_network = kind == "dense" and known and (family, *heads) != ("rpn",)
    if tuple(heads) in known or is_network:
        return
    culprits = [part for part in (*heads, family) if part in _REASONS]
    reason = "no export knows " + " and ".join([family, *heads])
    raise ConfigError(
        f"this model cannot be exported: {_REASONS[culprits[0]] if culprits else reason}"
    )


def check_layers(model: nn.Module) -> None:
    """Raise ConfigError if a layer of the model is one that ONNX Runtime alone has."""
    for name, module in model.named_modules():
        if isinstance(module, DeformConv | ModulatedDeformConv):
            raise ConfigError(
                f"this model cannot be exported to this format: {name} is a deformable "
                "convolution, which OpenVINO does not convert and PyTorch has in this package "
                "alone; use --format onnx, or --operators own with torch or aoti"
            )
