"""The convolutional head of RetinaNet (arXiv 1708.02002, section 4).

Shapes: N images, F feature channels, A anchors of a cell, C foreground classes, Hi x Wi cells of
level i.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.modeling.make_layers import NormFactory, init_normal, make_tower

_INIT_STD = 0.01


class RetinaNetOutputs(NamedTuple):
    """Raw predictions, one tensor a level, finest first.

    Attributes:
        logits: (N, A * C, Hi, Wi) class scores before the sigmoid.
        deltas: (N, A * 4, Hi, Wi) codes of the boxes relative to their anchors.
    """

    logits: list[Tensor]
    deltas: list[Tensor]


@dataclass(frozen=True, slots=True)
class RetinaNetHeadSettings:
    """Sizes of the head.

    Args:
        in_channels: feature channels F.
        num_anchors: A.
        num_foreground: C.
        num_convs: convolutions of a tower.
        prior_prob: class probability at the start, 0 < p < 1 (section 3.3).
        norm: channels -> normalisation behind each convolution of the towers, or None.
    """

    in_channels: int
    num_anchors: int
    num_foreground: int = 80
    num_convs: int = 4
    prior_prob: float = 0.01
    norm: NormFactory | None = None


class RetinaNetHead(nn.Module):
    """Two towers, one for classes and one for boxes, shared by all levels."""

    def __init__(self, settings: RetinaNetHeadSettings) -> None:
        super().__init__()
        channels, num_anchors = settings.in_channels, settings.num_anchors
        make = partial(make_tower, channels, settings.num_convs, std=_INIT_STD, norm=settings.norm)
        self.cls_tower = make()
        self.bbox_tower = make()
        self.cls_logits = nn.Conv2d(channels, num_anchors * settings.num_foreground, 3, padding=1)
        self.bbox_pred = nn.Conv2d(channels, num_anchors * 4, 3, padding=1)
        for conv in (self.cls_logits, self.bbox_pred):
            init_normal(conv, _INIT_STD)
        prior = settings.prior_prob
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> RetinaNetOutputs:
        """Predictions on feature maps (N, F, Hi, Wi), finest first."""
        outputs = RetinaNetOutputs([], [])
        for feature in features:
            outputs.logits.append(self.cls_logits(self.cls_tower(feature)))
            outputs.deltas.append(self.bbox_pred(self.bbox_tower(feature)))
        return outputs
