"""The graph of a part of a model: which layers it calls, on what.

A traced part computes what the part computes for inputs of any size. A part whose ``forward``
depends on more than the layers' results, on sizes or on boxes, cannot be traced.
"""

import inspect
import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers import (
    FrozenBatchNorm2d,
    MinimalConv2d,
    at_least_float32,
    deform_conv_modules,
)

logger = logging.getLogger(__name__)

SHAPE = "shape"

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_RELU_FUNCTIONS = (torch.relu, torch.relu_, F.relu, F.relu_)


def has_convolutions(module: nn.Module) -> bool:
    """Whether there is a convolution in it, or it is one."""
    return any(isinstance(part, _CONVOLUTIONS) for part in module.modules())


def is_layer(module: nn.Module) -> bool:
    """Whether the module stays one node of a graph: convolutions, norms, and what has none."""
    is_deformable = type(module).__module__ == deform_conv_modules.__name__
    of_torch = type(module).__module__.startswith("torch.nn") and not any(module.children())
    return (
        of_torch
        or isinstance(module, MinimalConv2d)
        or is_deformable
        or isinstance(module, FrozenBatchNorm2d)
        or not has_convolutions(module)
    )


class _Tracer(fx.Tracer):
    """Follows a module down to its layers, and through sequences of maps that it is given.

    Args:
        lengths: number of items of each argument that is a sequence, by its name.
    """

    def __init__(self, lengths: dict[str, int]) -> None:
        super().__init__(autowrap_functions=(at_least_float32,))
        self.lengths = lengths

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002 - of every tracer
        return is_layer(m)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        name = str(obj.node.target)
        if obj.node.op != "placeholder" or name not in self.lengths:
            return super().iter(obj)
        return iter([operator.getitem(obj, index) for index in range(self.lengths[name])])


def trace(module: nn.Module, inputs: Sequence[Any]) -> fx.GraphModule | None:
    """The module as a graph; None if it cannot be.

    Args:
        module: in evaluation mode.
        inputs: what it is called with: tensors and sequences of tensors.
    """
    parameters = list(inspect.signature(module.forward).parameters.values())
    if len(parameters) < len(inputs):
        return None
    lengths = {
        parameter.name: len(value)
        for parameter, value in zip(parameters, inputs, strict=False)
        if isinstance(value, Sequence)
    }
    defaults = {parameter.name: parameter.default for parameter in parameters[len(inputs) :]}
    tracer = _Tracer(lengths)
    try:
        graph = tracer.trace(module, concrete_args=defaults or None)
    except Exception as error:  # noqa: BLE001 - a forward that gets no tensors may raise anything
        logger.debug("%s cannot be traced: %s", type(module).__name__, error)
        return None
    return fx.GraphModule(tracer.root, graph, type(module).__name__)


# PyTorch's own ``ShapeProp`` imports SymPy, which takes longer than a photo.
class _ShapeNotes(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - of any node
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta[SHAPE] = result.shape
        return result


def run_with_shapes(traced: fx.GraphModule, inputs: Sequence[Any]) -> object:
    """What the graph returns; its nodes keep the shapes of their tensors, as ``meta[SHAPE]``."""
    return _ShapeNotes(traced).run(*inputs)


def only_user(node: fx.Node) -> fx.Node | None:
    """The node that uses a node's value, if there is one alone."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def shape_of(node: object) -> torch.Size | None:
    """The shape of a node's value, as ``run_with_shapes`` noted it."""
    return node.meta.get(SHAPE) if isinstance(node, fx.Node) else None


def is_relu(node: fx.Node, layers: Mapping[str, nn.Module]) -> bool:
    """Whether the node is a ReLU: one of the layers, a function or a method."""
    if node.op == "call_module":
        return isinstance(layers[str(node.target)], nn.ReLU)
    is_function = node.op == "call_function" and node.target in _RELU_FUNCTIONS
    return is_function or (node.op == "call_method" and node.target in ("relu", "relu_"))
