"""Models as the inference modes compute them, in operators of this package and of oneDNN.

Layers are put together and 3 x 3 convolutions need a quarter of the products, so that programs of
such a network are as fast as the mode. They run where ``torch.ops.centermask`` is there: after this
package was imported, or its compiled library alone was loaded into PyTorch.

Shapes: N images, C input and O output channels, H x W cells before, H' x W' after.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.modes.fused_layers import Activation, FusedConv2d
from maskrcnn_benchmark.export.metadata import Precision
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN

_MODES: Final[Mapping[Precision, str]] = MappingProxyType({"float32": "fast", "bf16": "bf16"})
_SUM: Final = "mkldnn::_convolution_pointwise.binary"
_LIMITS: Final[Mapping[Activation, list[float]]] = MappingProxyType(
    # Files cannot hold an empty list; only the last one reads it.
    {Activation.NONE: [0.0], Activation.RELU: [0.0], Activation.RELU6: [0.0, 6.0]}
)


def make_fast_twin(model: GeneralizedRCNN, precision: Precision) -> GeneralizedRCNN:
    """The copy of a model that the inference mode of this precision computes with.

    Raises:
        ConfigError: this processor does not compute in it.
    """
    twin = INFERENCE_MODES[_MODES[precision]](model, torch.device("cpu"))
    assert isinstance(twin, GeneralizedRCNN)
    return twin


@contextmanager
def plain_weights(part: nn.Module) -> Iterator[None]:
    """A block in which the weights of a part are in an order that can be written to files."""
    made: dict[nn.Module, nn.Module] = {}
    places = []
    for owner in part.modules():
        for name, layer in owner._modules.items():
            if isinstance(layer, FusedConv2d) and layer.is_packed:
                places.append((owner, name, layer))
                made.setdefault(layer, _WritableConv2d(layer))
    try:
        for owner, name, layer in places:
            setattr(owner, name, made[layer])
        yield
    finally:
        for owner, name, layer in places:
            setattr(owner, name, layer)


class _WritableConv2d(nn.Module):
    """What a ``FusedConv2d`` computes, with weights that oneDNN arranges in each call.

    That costs a hundredth of the convolution's time.
    """

    def __init__(self, layer: FusedConv2d) -> None:
        super().__init__()
        weight = layer.weight.to_dense() if layer.weight.is_mkldnn else layer.weight
        # As NHWC also where height and width are 1: strides say what is returned.
        plain = torch.empty(weight.shape, dtype=weight.dtype, memory_format=torch.channels_last)
        self.weight = plain.copy_(weight)
        self.bias = layer.bias.clone()
        self.sizes = (layer.padding, layer.stride, layer.dilation, layer.groups)
        self.activation = layer.activation
        self.dtype = layer.dtype

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """(N, O, H', W') of maps (N, C, H, W) and, where there is one, an addend of its shape."""
        convolve = torch.ops.mkldnn._convolution_pointwise
        given = (x.to(self.dtype), self.weight, self.bias, *self.sizes)
        limits = _LIMITS[self.activation]
        y: Tensor
        if addend is None:
            y = convolve(*given, self.activation.value, limits, "")
            return y
        first, *others = given
        name = None if self.activation is Activation.NONE else self.activation.value
        y = convolve(first, addend.to(self.dtype), *others, "add", 1.0, name, limits, None)
        return y


@contextmanager
def traceable_sums() -> Iterator[None]:
    """A block in which PyTorch knows what shape oneDNN's convolutions with a sum return."""
    has_rule = torch._C._dispatch_has_kernel_for_dispatch_key(_SUM, "Meta")
    library = torch.library.Library("mkldnn", "FRAGMENT")  # type: ignore[no-untyped-call]
    try:
        if not has_rule:
            torch.library.register_fake(_SUM, _shape_of_sum, lib=library)
        yield
    finally:
        library._destroy()  # type: ignore[no-untyped-call]


def _shape_of_sum(x: Tensor, addend: Tensor, *_options: Sequence[Any]) -> Tensor:
    del x
    return torch.empty_like(addend)
