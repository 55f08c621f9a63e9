"""The head of ShapeMask's detector (arXiv 1708.02002, section 4, with norms).

Shapes: N images, A anchors of a cell, C classes with background, Hi x Wi cells of level i.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.make_layers import NormFactory, init_normal

_NUM_CONVS: Final = 4
_TOWER_STD: Final = 0.01
_OUTPUT_STD: Final = 1e-5
RARE_LOGIT: Final = -math.log(99)
"""Of a probability of 0.01, which outputs start from."""


class ShapeMaskOutputs(NamedTuple):
    """What the head predicts, per level.

    Attributes:
        logits: (N, A * C, Hi, Wi); those of the background are trained, and ignored afterwards.
        codes: (N, A * 4, Hi, Wi) dy, dx, dh, dw.
    """

    logits: list[Tensor]
    codes: list[Tensor]


class ShapeMaskHead(nn.Module):
    """Two towers whose convolutions all levels share; each level has norms of its own.

    Args:
        in_channels: channels of the maps, and of the towers.
        num_anchors: A.
        num_classes: C.
        num_levels: number of maps.
        norm: channels -> normalisation layer.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        num_classes: int,
        num_levels: int,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.cls_tower, self.bbox_tower = (_make_convs(in_channels) for _ in range(2))
        self.cls_norms, self.bbox_norms = (
            _make_norms(in_channels, num_levels, norm) for _ in range(2)
        )
        self.cls_logits = nn.Conv2d(in_channels, num_anchors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, 3, padding=1)
        for output in (self.cls_logits, self.bbox_pred):
            init_normal(output, _OUTPUT_STD)
        nn.init.constant_(self.cls_logits.bias, RARE_LOGIT)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> ShapeMaskOutputs:
        """Predictions on maps (N, F, Hi, Wi), finest first."""
        logits, codes = [], []
        for level, feature in enumerate(features):
            towers = ((self.cls_tower, self.cls_norms), (self.bbox_tower, self.bbox_norms))
            of_classes, of_boxes = (_run(*tower, level, feature) for tower in towers)
            logits.append(self.cls_logits(of_classes))
            codes.append(self.bbox_pred(of_boxes))
        return ShapeMaskOutputs(logits, codes)


def _make_convs(channels: int) -> nn.ModuleList:
    convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(_NUM_CONVS)]
    for conv in convs:
        init_normal(conv, _TOWER_STD)
    return nn.ModuleList(convs)


def _make_norms(channels: int, num_levels: int, norm: NormFactory) -> nn.ModuleList:
    """One for each layer and level."""
    return nn.ModuleList(
        nn.ModuleList(norm(channels) for _ in range(num_levels)) for _ in range(_NUM_CONVS)
    )


def _run(convs: nn.ModuleList, norms: nn.ModuleList, level: int, x: Tensor) -> Tensor:
    for conv, of_levels in zip(convs, norms, strict=True):
        x = torch.relu(of_levels[level](conv(x)))  # type: ignore[index]
    return x
