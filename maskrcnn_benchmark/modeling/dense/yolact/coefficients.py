"""Mask coefficients of those anchors that become detections (arXiv 1904.02689, section 3.1).

Shapes: N images, F feature channels, A anchors of a cell, P prototypes, Hi x Wi cells of level i,
D detections of an image.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.yolact.head import YolactHead, YolactOutputs

ReadCoefficients: TypeAlias = Callable[[Any, int, Tensor], Tensor]
"""(outputs of the head, number of an image, (D,) its anchors over all levels) -> (D, P)."""
_KERNEL = 3


def read_computed(outputs: YolactOutputs, image: int, anchors: Tensor) -> Tensor:
    """(D, P) coefficients of an image's anchors (D,), which the head computed for all of them."""
    levels = [level[image : image + 1] for level in outputs.coefficients]
    return flatten_levels(levels, outputs.prototypes.shape[1])[0][anchors]


class YolactMaps(NamedTuple):
    """``YolactOutputs``, but maps that coefficients are computed of instead of these.

    Attributes:
        codes: as there.
        logits: as there.
        shared: (N, F, Hi, Wi).
        prototypes: as there.
    """

    codes: list[Tensor]
    logits: list[Tensor]
    shared: list[Tensor]
    prototypes: Tensor


class MapsHead(nn.Module):
    """``YolactHead`` for evaluation, without the layer that makes coefficients of maps."""

    def __init__(self, whole: YolactHead) -> None:
        super().__init__()
        self.protonet = whole.protonet
        self.shared = whole.shared
        self.bbox_pred = whole.bbox_pred
        self.conf_pred = whole.conf_pred

    def forward(self, features: Sequence[Tensor]) -> YolactMaps:
        """Predictions on feature maps (N, F, Hi, Wi), finest first."""
        shared = [self.shared(feature) for feature in features]
        return YolactMaps(
            codes=[self.bbox_pred(x) for x in shared],
            logits=[self.conf_pred(x) for x in shared],
            shared=shared,
            prototypes=self.protonet(features[0]),
        )


class CoefficientReader(nn.Module):
    """Computes coefficients where they are asked for: of thousands of cells, a hundred.

    Args:
        layer: the 3x3 convolution from maps to coefficients before their tanh.
        num_prototypes: P.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Module, num_prototypes: int) -> None:
        super().__init__()
        assert isinstance(layer, nn.Conv2d)  # ``YolactHead``
        weight = layer.weight.detach()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        # By row and column of the window, channel, output.
        self.register_buffer("weight", weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous())
        self.register_buffer("bias", bias)
        self.num_prototypes = num_prototypes

    def forward(self, outputs: YolactMaps, image: int, anchors: Tensor) -> Tensor:
        """(D, P) coefficients of an image's anchors (D,)."""
        num_anchors = len(self.bias) // self.num_prototypes
        cells = torch.div(anchors, num_anchors, rounding_mode="floor")
        windows = read_windows([level[image] for level in outputs.shared], cells)
        of_cells = torch.addmm(self.bias, windows.flatten(1), self.weight)
        each = of_cells.view(len(anchors), num_anchors, self.num_prototypes)
        return torch.tanh(each[torch.arange(len(anchors)), anchors % num_anchors])


def read_windows(maps: Sequence[Tensor], cells: Tensor) -> Tensor:
    """(D, 9, F) the 3 x 3 cells around some of several maps, zeros beyond their borders.

    Args:
        maps: (F, Hi, Wi) of every level.
        cells: (D,) numbers over all levels: by level, row, column.
    """
    windows = maps[0].new_zeros(len(cells), _KERNEL**2, len(maps[0]))
    offset = torch.arange(_KERNEL, device=cells.device) - _KERNEL // 2
    start = 0
    for level in maps:
        height, width = level.shape[1:]
        number = cells - start
        (here,) = ((number >= 0) & (number < height * width)).nonzero(as_tuple=True)
        start += height * width
        row = torch.div(number[here], width, rounding_mode="floor")[:, None] + offset
        column = (number[here] % width)[:, None] + offset
        is_inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[
            :, None
        ]
        place = (row.clamp(0, height - 1) * width)[:, :, None] + column.clamp(0, width - 1)[:, None]
        values = level.permute(1, 2, 0).reshape(height * width, -1)[place.flatten(1)]
        windows[here] = values * is_inside.flatten(1)[..., None]
    return windows
