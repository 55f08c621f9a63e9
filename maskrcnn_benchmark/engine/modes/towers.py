"""Towers of 3 x 3 convolutions in a graph, each for all levels of a pyramid in one call.

Shapes: N images, C channels, Hi x Wi cells of level i.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from maskrcnn_benchmark.engine.modes.fused_layers import (
    Activation,
    FoldedConv,
    WinogradConv2d,
    can_be_folded,
    can_be_fused,
)
from maskrcnn_benchmark.engine.modes.tracing import is_relu, only_user, shape_of
from maskrcnn_benchmark.layers import TowerConv, conv_tower, pack_conv_tower


class FusedTower(nn.Module):
    """relu(norm(conv(x))) again and again, and convolutions of the last map, for evaluation.

    Args:
        convs: those that ReLU follows.
        norms: as many group normalisations between them and ReLU, or none.
        outputs: the last ones.
        products: what is multiplied, float32 or int16.
    """

    def __init__(
        self,
        convs: Sequence[nn.Conv2d],
        norms: Sequence[nn.GroupNorm],
        outputs: Sequence[nn.Conv2d],
        *,
        products: torch.dtype,
    ) -> None:
        super().__init__()
        of_norms: list[tuple[Tensor, Tensor] | None] = [None] * len(convs)
        if norms:
            of_norms = [(norm.weight.detach(), norm.bias.detach()) for norm in norms]
        self.weight = pack_conv_tower(
            [_tower_conv(conv, norm) for conv, norm in zip(convs, of_norms, strict=True)],
            [_tower_conv(conv) for conv in outputs],
            num_groups=norms[0].num_groups if norms else 1,
            eps=norms[0].eps if norms else 1e-5,
            products=products,
        )

    def forward(self, maps: Sequence[Tensor]) -> list[list[Tensor]]:
        """For each map (N, C, Hi, Wi) the results of each of the last convolutions, float32."""
        return conv_tower(maps, self.weight)

    def extra_repr(self) -> str:
        """What it computes, for printing the module."""
        weight = self.weight
        return f"{weight.num_convs} convolutions, then {weight.widths} channels"


def _tower_conv(conv: nn.Conv2d, norm: tuple[Tensor, Tensor] | None = None) -> TowerConv:
    folded = FoldedConv.of(conv)
    return TowerConv(weight=folded.weight, bias=folded.bias, norm=norm)


@dataclass(slots=True)
class _Tower:
    """The nodes of one tower on one map.

    Attributes:
        x: the map.
        convs, norms: nodes of the convolutions that ReLU follows, and of the norms between.
        nodes: these, and those of ReLU.
        outputs: nodes of the last convolutions.
    """

    x: fx.Node
    convs: list[fx.Node] = field(default_factory=list)
    norms: list[fx.Node] = field(default_factory=list)
    nodes: list[fx.Node] = field(default_factory=list)
    outputs: list[fx.Node] = field(default_factory=list)

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Names of its layers; towers of the same layers are one on several maps."""
        groups = (self.convs, self.norms, self.outputs)
        return tuple(tuple(str(node.target) for node in group) for group in groups)


class _Search:
    """Finds the towers of a graph.

    Args:
        graph: with the shapes of its values.
        layers: those that it calls, by name.
        products: what is multiplied, float32 or int16.
        enlargement: how many times wider and higher than in the graph maps mostly are.
    """

    def __init__(
        self, graph: fx.Graph, layers: dict[str, nn.Module], products: torch.dtype, enlargement: int
    ) -> None:
        self.graph = graph
        self.layers = layers
        self.products = products
        self.enlargement = enlargement

    def towers(self) -> list[_Tower]:
        """All of them, in the order of the graph; no node is of two."""
        found, taken = [], set[fx.Node]()
        for node in self.graph.nodes:
            tower = None if node in taken else self._tower_from(node)
            if tower is not None:
                found.append(tower)
                taken.update(tower.nodes, tower.outputs)
        return found

    def _tower_from(self, first: fx.Node) -> _Tower | None:
        if not self._suits(first) or not isinstance(first.args[0], fx.Node):
            return None
        tower, conv = _Tower(first.args[0]), first
        while True:
            norm, relu = self._norm_and_relu(conv)
            is_uniform = not tower.convs or bool(tower.norms) == (norm is not None)
            if relu is None or not is_uniform or not self._keeps_channels(conv, tower, norm):
                return None
            tower.convs.append(conv)
            tower.norms += [] if norm is None else [norm]
            tower.nodes += [conv, *([] if norm is None else [norm]), relu]
            users = list(relu.users)
            if not users or not all(map(self._suits, users)):
                return None
            *others, conv = users
            if others or self._norm_and_relu(conv)[1] is None:
                tower.outputs = users
                return tower

    def _norm_and_relu(self, conv: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
        """What follows a convolution, as far as it does."""
        user, norm = only_user(conv), None
        if user is not None and isinstance(self._layer(user), nn.GroupNorm):
            norm, user = user, only_user(user)
        return norm, user if user is not None and is_relu(user, self.layers) else None

    def _keeps_channels(self, conv: fx.Node, tower: _Tower, norm: fx.Node | None) -> bool:
        layer = self._layer(conv)
        assert isinstance(layer, nn.Conv2d)
        is_square = layer.out_channels == layer.in_channels
        if norm is None:
            return is_square
        own, first = self._layer(norm), self._layer((tower.norms or [norm])[0])
        assert isinstance(own, nn.GroupNorm)
        assert isinstance(first, nn.GroupNorm)
        alike = (own.num_groups, own.eps) == (first.num_groups, first.eps)
        return is_square and own.affine and alike

    def _suits(self, node: fx.Node) -> bool:
        """Whether the node is a convolution of a tower."""
        layer, shape = self._layer(node), shape_of(node.args[0]) if node.args else None
        if layer is None or shape is None or not can_be_fused(layer):
            return False
        if any(can_be_folded(self._layer(user) or nn.Identity()) for user in node.users):
            return False
        assert isinstance(layer, nn.Conv2d)
        folded = FoldedConv.of(layer)
        typical_input = (*shape[:2], *(n * self.enlargement for n in shape[2:]))
        return folded.padding == (1, 1) and WinogradConv2d.suits(
            folded,
            activation=Activation.NONE,
            dtype=torch.float32,
            products=self.products,
            typical_input=typical_input,
        )

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self.layers[str(node.target)] if node.op == "call_module" else None


def _together(towers: Iterable[_Tower], graph: fx.Graph) -> list[list[_Tower]]:
    """Towers of the same layers, whose maps are all there before the first of them begins."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    groups = dict[tuple[tuple[str, ...], ...], list[list[_Tower]]]()
    for tower in towers:
        of_layers = groups.setdefault(tower.layers, [])
        if of_layers and order[tower.x] < order[of_layers[-1][0].convs[0]]:
            of_layers[-1].append(tower)
        else:
            of_layers.append([tower])
    return [group for of_layers in groups.values() for group in of_layers]


def fuse_towers(traced: fx.GraphModule, *, products: torch.dtype, enlargement: int) -> None:
    """Put one call in the place of each tower of 3 x 3 convolutions, for all of its maps.

    Args:
        traced: a part, in evaluation mode, with the shapes of its values; it is changed, and
            computes what it did, in float32.
        products: what convolutions multiply, float32 or int16.
        enlargement: how many times wider and higher than in the trace maps mostly are.
    """
    layers = dict(traced.named_modules(remove_duplicate=False))
    towers = _Search(traced.graph, layers, products, enlargement).towers()
    made = dict[tuple[tuple[str, ...], ...], str]()
    for group in _together(towers, traced.graph):
        names = group[0].layers
        if names not in made:
            made[names] = f"tower_{len(made)}"
            parts = ([layers[name] for name in kind] for kind in names)
            traced.add_submodule(made[names], FusedTower(*parts, products=products))
        _put(traced.graph, group, made[names])


def _put(graph: fx.Graph, group: list[_Tower], name: str) -> None:
    with graph.inserting_before(group[0].convs[0]):
        results = graph.call_module(name, ([tower.x for tower in group],))
        for level, tower in enumerate(group):
            of_level = graph.call_function(operator.getitem, (results, level))
            for index, output in enumerate(tower.outputs):
                new = graph.call_function(operator.getitem, (of_level, index))
                new.meta = dict(output.meta)
                output.replace_all_uses_with(new)
    for tower in group:
        for node in (*tower.outputs, *reversed(tower.nodes)):
            graph.erase_node(node)
