"""Layers of a graph put together: convolution, normalisation, sum and activation in one pass."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from maskrcnn_benchmark.engine.modes.fused_layers import (
    Activation,
    FoldedConv,
    FusedConv2d,
    FusedConvTranspose2d,
    FusedGroupNorm,
    TypedModule,
    WinogradConv2d,
    can_be_folded,
    can_be_fused,
    scale_and_shift,
)
from maskrcnn_benchmark.engine.modes.fused_linear import FusedLinear
from maskrcnn_benchmark.engine.modes.integer_layers import IntegerLinear, PointwiseConv2d
from maskrcnn_benchmark.engine.modes.inverted_residual import BlockLayer, inverted_residual_layer
from maskrcnn_benchmark.engine.modes.patches import PatchConvTranspose2d
from maskrcnn_benchmark.engine.modes.towers import fuse_towers
from maskrcnn_benchmark.engine.modes.tracing import (
    has_convolutions,
    is_relu,
    only_user,
    shape_of,
)
from maskrcnn_benchmark.layers import (
    DeformConv,
    DFConv2d,
    FrozenBatchNorm2d,
    ModulatedDeformConv,
    cell_conv,
    makes_patches,
)

# Layers with weights of one type and maps of another.
_OF_ANY_TYPE = (FrozenBatchNorm2d, nn.BatchNorm2d, nn.GroupNorm)
_DEFORMABLE = (DFConv2d, DeformConv, ModulatedDeformConv)
_SUMS = (operator.add, operator.iadd, torch.add)


@dataclass(slots=True)
class _Chain:
    """What one pass can compute: a convolution's node and those behind it, and what they do."""

    nodes: list[fx.Node]
    norm: fx.Node | None = None
    addend: fx.Node | None = None
    activation: Activation = Activation.NONE

    @property
    def conv(self) -> fx.Node:
        return self.nodes[0]

    @property
    def last(self) -> fx.Node:
        return self.nodes[-1]


class _Fusion:
    """Puts together the layers of one traced module.

    Args:
        traced: the graph with the shapes of its values; it is changed.
        dtype: what convolutions compute in.
        last_dtype: what those compute in whose results leave the graph.
        products: what layers multiply that have kernels for it, float32 or int16.
        enlargement: how many times wider and higher than in the trace maps mostly are.
    """

    def __init__(
        self,
        traced: fx.GraphModule,
        *,
        dtype: torch.dtype,
        last_dtype: torch.dtype,
        products: torch.dtype,
        enlargement: int,
    ) -> None:
        self.traced = traced
        self.graph = traced.graph
        self.layers = dict(traced.named_modules(remove_duplicate=False))
        self.dtype = dtype
        self.last_dtype = last_dtype
        self.products = products
        self.enlargement = enlargement
        self.last_convs = _without_later(self.graph.nodes, self._is_any_conv)
        # Layers that are called several times, once a level, stay one.
        self.made: dict[tuple[Any, ...], str] = {}
        self.replaced: set[fx.Node] = set()

    def run(self) -> None:
        for node in list(self.graph.nodes):
            if node in self.replaced:
                continue
            if self._is_layer(node, can_be_fused):
                chain = self._chain(node)
                if not self._replace_block(chain):
                    self._replace(chain)
            elif self._is_layer(node, _makes_patches):
                self._replace_transposed(node)
            elif self._is_layer(node, _is_group_norm):
                self._replace_group_norm(node)
            elif self._is_layer(node, _is_deformable):
                self._replace_deformable(node)
            elif node.op == "call_module":
                self._replace_other_layer(node)
        self.traced.delete_all_unused_submodules()
        self.traced.recompile()

    def _is_layer(self, node: fx.Node, has_kind: Callable[[nn.Module], bool]) -> bool:
        return node.op == "call_module" and has_kind(self.layers[str(node.target)])

    def _is_any_conv(self, node: fx.Node) -> bool:
        return self._is_layer(node, has_convolutions)

    def _chain(self, conv: fx.Node) -> _Chain:
        chain = _Chain([conv])
        user = only_user(conv)
        if user is not None and self._is_layer(user, can_be_folded):
            chain.norm = user
            chain.nodes.append(user)
            user = only_user(user)
        if user is not None:
            addend = _addend(user, chain.last)
            if addend is not None:
                chain.addend = addend
                chain.nodes.append(user)
                user = only_user(user)
        if user is not None:
            activation = self._activation(user)
            # oneDNN puts no other activation behind a sum.
            if activation is Activation.RELU or (activation and chain.addend is None):
                chain.activation = activation
                chain.nodes.append(user)
        return chain

    def _activation(self, node: fx.Node) -> Activation | None:
        if self._is_layer(node, lambda layer: isinstance(layer, nn.ReLU6)):
            return Activation.RELU6
        return Activation.RELU if is_relu(node, self.layers) else None

    def _replace_block(self, chain: _Chain) -> bool:
        """Whether the chain and those behind it became an inverted residual block."""
        chains, (x, *_) = [chain], chain.conv.args
        while len(chains) < (3 if self._conv(chain).groups == 1 else 2):
            user = only_user(chains[-1].last)
            if user is None or not self._is_layer(user, can_be_fused):
                return False
            chains.append(self._chain(user))
        *inner, last = chains
        activation, adds_input = chain.activation, last.addend is not None
        is_block = (
            all(each.activation is activation and each.addend is None for each in inner)
            and last.activation is Activation.NONE
            and last.addend in (None, x)
        )
        if not is_block or self._dtype(last) is not self.dtype:  # what leaves the graph
            return False
        typical_input = self._typical_input(chain.conv)
        types: dict[str, Any] = {"dtype": self.dtype, "products": self.products}
        options: dict[str, Any] = {"activation": activation, "adds_input": adds_input, **types}
        convs, folded = [self._conv(c) for c in chains], [self._folded(c) for c in chains]
        block = inverted_residual_layer(convs, folded, typical_input=typical_input, **options)
        if block is None:
            return False
        nodes = [node for each in chains for node in each.nodes]
        key = (*(node.target for node in nodes), activation)
        if key not in self.made:
            self._add(key, block)
        self._put(nodes, self.made[key], [x])
        return True

    def _dtype(self, chain: _Chain) -> torch.dtype:
        return self.last_dtype if chain.conv in self.last_convs else self.dtype

    def _conv(self, chain: _Chain) -> nn.Conv2d:
        conv = self.layers[str(chain.conv.target)]
        assert isinstance(conv, nn.Conv2d)
        return conv

    def _folded(self, chain: _Chain) -> FoldedConv:
        norm = None if chain.norm is None else self.layers[str(chain.norm.target)]
        return FoldedConv.of(self._conv(chain), norm)

    def _replace(self, chain: _Chain) -> None:
        norm = None if chain.norm is None else str(chain.norm.target)
        overwrites = self._is_free(chain)
        dtype = self._dtype(chain)
        key = (str(chain.conv.target), norm, chain.activation, dtype, overwrites)
        if key not in self.made:
            self._add(key, self._fused(self._folded(chain), chain, dtype, overwrites))
        inputs = [chain.conv.args[0], *([] if chain.addend is None else [chain.addend])]
        self._put(chain.nodes, self.made[key], inputs)

    def _fused(
        self, folded: FoldedConv, chain: _Chain, dtype: torch.dtype, overwrites: bool
    ) -> nn.Module:
        """The layer that computes a chain."""
        activation, typical_input = chain.activation, self._typical_input(chain.conv)
        types = {"dtype": dtype, "products": self.products}
        if chain.addend is None and WinogradConv2d.suits(
            folded, activation=activation, typical_input=typical_input, **types
        ):
            return WinogradConv2d(folded, activation=activation, **types)
        if self._is_in_integers(dtype) and PointwiseConv2d.suits(folded):
            return PointwiseConv2d(folded, activation=activation)
        return FusedConv2d(
            folded,
            activation=activation,
            dtype=dtype,
            typical_input=typical_input,
            overwrites=overwrites,
        )

    def _is_in_integers(self, dtype: torch.dtype) -> bool:
        return (dtype, self.products) == (torch.float32, torch.int16)

    def _typical_input(self, conv: fx.Node) -> tuple[int, ...]:
        shape = shape_of(conv.args[0])
        assert shape is not None  # ``run_with_shapes``
        # What was pooled stays one cell.
        return *shape[:2], *(n if n == 1 else n * self.enlargement for n in shape[2:])

    def _replace_transposed(self, node: fx.Node) -> None:
        chain, user = _Chain([node]), only_user(node)
        activation = None if user is None else self._activation(user)
        if user is not None and activation is not None:
            chain.activation = activation
            chain.nodes.append(user)
        key = (str(node.target), activation)
        if key not in self.made:
            layer = self.layers[str(node.target)]
            assert isinstance(layer, nn.ConvTranspose2d)
            folded = FoldedConv.of(cell_conv(layer))
            cells = self._fused(folded, chain, self.dtype, overwrites=False)
            self._add(key, PatchConvTranspose2d(cells, layer.weight.shape[2:]))
        self._put(chain.nodes, self.made[key], list(node.args))

    def _replace_group_norm(self, node: fx.Node) -> None:
        user = only_user(node)
        if user is None or self._activation(user) is not Activation.RELU:
            return
        norm, key = self.layers[str(node.target)], (str(node.target), Activation.RELU)
        assert isinstance(norm, nn.GroupNorm)
        if key not in self.made:
            self._add(key, FusedGroupNorm(norm))
        self._put([node, user], self.made[key], list(node.args))

    def _replace_deformable(self, node: fx.Node) -> None:
        user = only_user(node)
        if user is None or not self._is_layer(user, can_be_folded):
            self._replace_other_layer(node)
            return
        key = (str(node.target), str(user.target))
        if key not in self.made:
            layer, norm = (self.layers[name] for name in key)
            assert isinstance(layer, _DEFORMABLE)
            folded = layer.rescaled(*scale_and_shift(norm))
            self._add(key, self._other_layer(folded) or folded)
        self._put([node, user], self.made[key], list(node.args))

    def _replace_other_layer(self, node: fx.Node) -> None:
        layer, key = self.layers[str(node.target)], (str(node.target),)
        if key not in self.made:
            replacement = self._other_layer(layer)
            if replacement is None:
                return
            self._add(key, replacement)
        self._put([node], self.made[key], list(node.args))

    def _other_layer(self, layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, nn.ConvTranspose2d):
            return FusedConvTranspose2d(layer, dtype=self.dtype)
        if isinstance(layer, nn.Linear):
            if self._is_in_integers(self.dtype) and IntegerLinear.suits(layer):
                return IntegerLinear(layer)
            return FusedLinear(layer, dtype=self.dtype)
        if self.dtype is not torch.bfloat16 or isinstance(layer, _OF_ANY_TYPE):
            return None
        has_weights = next(layer.parameters(), None) is not None
        return TypedModule(layer, dtype=torch.float32) if has_weights else None

    def _add(self, key: tuple[Any, ...], layer: nn.Module) -> None:
        name = f"fused_{len(self.made)}"
        self.traced.add_submodule(name, layer)
        self.layers[name] = layer
        self.made[key] = name

    def _put(self, nodes: list[fx.Node], layer: str, inputs: list[Any]) -> None:
        """The layer in the place of nodes that follow one another."""
        *_, last = nodes
        with self.graph.inserting_before(last):
            new = self.graph.call_module(layer, tuple(inputs))
        new.meta = dict(last.meta)
        last.replace_all_uses_with(new)
        for node in reversed(nodes):
            self.graph.erase_node(node)
        self.replaced.update(nodes)

    def _is_free(self, chain: _Chain) -> bool:
        """Whether nothing needs the addend once the sum is there, and nothing else shares it."""
        addend = chain.addend
        if addend is None or not self._is_fresh(addend):
            return False
        order = {node: index for index, node in enumerate(self.graph.nodes)}
        others = [user for user in addend.users if user not in chain.nodes]
        return addend is not chain.conv.args[0] and all(
            order[user] < order[chain.last] and self._makes_own_result(user) for user in others
        )

    def _is_fresh(self, node: fx.Node) -> bool:
        is_enlarged = node.op == "call_function" and node.target is F.interpolate
        return is_enlarged or self._is_layer(node, _is_fused)

    def _makes_own_result(self, node: fx.Node) -> bool:
        return self._is_layer(node, lambda layer: can_be_fused(layer) or _is_fused(layer))


def _is_fused(layer: nn.Module) -> bool:
    return isinstance(layer, FusedConv2d | WinogradConv2d | PointwiseConv2d | BlockLayer)


def _makes_patches(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ConvTranspose2d) and makes_patches(layer)


def _is_deformable(layer: nn.Module) -> bool:
    return isinstance(layer, _DEFORMABLE)


def _is_group_norm(layer: nn.Module) -> bool:
    return isinstance(layer, nn.GroupNorm) and layer.affine


def _addend(node: fx.Node, term: fx.Node) -> fx.Node | None:
    """What the node adds to ``term``, of the same shape, or None if it does anything else."""
    is_sum = node.op == "call_function" and node.target in _SUMS and len(node.args) == 2
    if not is_sum or node.kwargs:
        return None
    others = [arg for arg in node.args if arg is not term]
    if len(others) != 1 or shape_of(others[0]) != shape_of(term):
        return None
    (other,) = others
    return other if isinstance(other, fx.Node) else None


def _without_later(nodes: Iterable[fx.Node], is_conv: Callable[[fx.Node], bool]) -> set[fx.Node]:
    """The convolutions on whose results no other convolution depends."""
    leads_on: set[fx.Node] = set()
    last = set()
    for node in reversed(list(nodes)):
        if any(user in leads_on or is_conv(user) for user in node.users):
            leads_on.add(node)
        elif is_conv(node):
            last.add(node)
    return last


def fuse(
    traced: fx.GraphModule,
    *,
    dtype: torch.dtype,
    last_dtype: torch.dtype,
    products: torch.dtype = torch.float32,
    enlargement: int = 1,
) -> None:
    """Put the layers of a traced part together; it returns what it did, in these types.

    Args:
        traced: the part, in evaluation mode, with the shapes of its values.
        dtype: what convolutions and linear layers compute in, float32 or bfloat16.
        last_dtype: what those convolutions compute in that no other one follows.
        products: what 3 x 3 convolutions multiply by minimal filtering, and with maps of 32 bits
            convolutions of single cells and linear layers, too: float32 or int16.
        enlargement: how many times wider and higher than in the trace maps mostly are.
    """
    if dtype is torch.float32:
        fuse_towers(traced, products=products, enlargement=enlargement)
    _Fusion(
        traced, dtype=dtype, last_dtype=last_dtype, products=products, enlargement=enlargement
    ).run()
