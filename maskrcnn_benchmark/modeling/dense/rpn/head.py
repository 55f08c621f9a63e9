"""The convolutional head of the region proposal network.

Shapes: N images, F feature channels, A anchors of a cell, Hi x Wi cells of level i.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.dense.anchor_generator import make_anchor_generator
from maskrcnn_benchmark.modeling.make_layers import init_normal, make_tower
from maskrcnn_benchmark.modeling.registry import RPN_HEADS

_INIT_STD = 0.01


class RPNOutputs(NamedTuple):
    """Raw predictions, one tensor a level, finest first.

    Attributes:
        logits: (N, A, Hi, Wi) objectness before the sigmoid.
        deltas: (N, A * 4, Hi, Wi) codes of the boxes relative to their anchors.
    """

    logits: list[Tensor]
    deltas: list[Tensor]


class RPNHead(nn.Module):
    """Hidden maps and two 1x1 convolutions of them, shared by all levels.

    Args:
        conv: (N, F, Hi, Wi) -> hidden maps of the same shape, whose ReLU the head computes.
        in_channels: F.
        num_anchors: A.
    """

    def __init__(self, *, conv: nn.Module, in_channels: int, num_anchors: int) -> None:
        super().__init__()
        self.conv = conv
        self.cls_logits = nn.Conv2d(in_channels, num_anchors, kernel_size=1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                init_normal(layer, _INIT_STD)

    def forward(self, features: Sequence[Tensor]) -> RPNOutputs:
        """Predictions on feature maps (N, F, Hi, Wi), finest first."""
        outputs = RPNOutputs([], [])
        for feature in features:
            hidden = self.conv(feature).relu_()
            outputs.logits.append(self.cls_logits(hidden))
            outputs.deltas.append(self.bbox_pred(hidden))
        return outputs


class SingleConvRPNHead(RPNHead):
    """A 3x3 convolution, ReLU and two 1x1 convolutions, shared by all levels.

    Source: Faster R-CNN (Ren et al. 2015), section 3.1.

    Args:
        in_channels: F.
        num_anchors: A.
    """

    def __init__(self, *, in_channels: int, num_anchors: int) -> None:
        conv = nn.Conv2d(in_channels, in_channels, kernel_size=3, padding=1)
        super().__init__(conv=conv, in_channels=in_channels, num_anchors=num_anchors)


@RPN_HEADS.register("SingleConvRPNHead")
def build_single_conv_rpn_head(
    cfg: CfgNode, in_channels: int, num_anchors: int | None = None
) -> SingleConvRPNHead:
    """The head for ``num_anchors`` anchors a cell; None: as many as MODEL.RPN describes."""
    if num_anchors is None:
        num_anchors = make_anchor_generator(cfg).num_anchors_per_location
    return SingleConvRPNHead(in_channels=in_channels, num_anchors=num_anchors)


@RPN_HEADS.register("ConvTowerRPNHead")
def build_conv_tower_rpn_head(cfg: CfgNode, in_channels: int, num_anchors: int) -> RPNHead:
    """The head with MODEL.RPN.NUM_CONVS convolutions, each with ReLU, in front of its outputs."""
    tower = make_tower(in_channels, cfg.MODEL.RPN.NUM_CONVS, std=_INIT_STD)
    # The head computes the last ReLU itself; in place twice, it would have no gradient.
    return RPNHead(conv=tower[:-1], in_channels=in_channels, num_anchors=num_anchors)
