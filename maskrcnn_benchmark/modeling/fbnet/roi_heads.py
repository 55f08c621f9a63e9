"""The RoI heads of FBNet models: blocks of the architecture on pooled features.

Shapes: R rois, F feature channels, M side of the pooled map, D output channels.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.fbnet.backbone import FBNetFactory
from maskrcnn_benchmark.modeling.poolers import Pooler, make_pooler
from maskrcnn_benchmark.modeling.registry import (
    ROI_BOX_FEATURE_EXTRACTORS,
    ROI_KEYPOINT_FEATURE_EXTRACTORS,
    ROI_MASK_FEATURE_EXTRACTORS,
)
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import ROIFeatureExtractor


class FBNetROIHead(ROIFeatureExtractor):
    """RoIAlign, blocks, and a last 1x1 convolution where there is one.

    Args:
        pooler: maps and boxes -> (R, F, M, M).
        head: (R, F, M, M) -> (R, D, M', M').
        out_channels: D.
    """

    def __init__(self, *, pooler: Pooler, head: nn.Module, out_channels: int) -> None:
        super().__init__(pooler=pooler, out_channels=out_channels)
        self.head = head


def _build_head(
    cfg: CfgNode, in_channels: int, *, part: str, keys: str, section: str
) -> FBNetROIHead:
    """The head that the architecture's ``part`` and MODEL.FBNET.<keys>_* describe.

    Raises:
        ConfigError: the architecture has no such part, or an impossible stride.
    """
    fbnet = cfg.MODEL.FBNET
    factory = FBNetFactory.from_config(cfg)
    blocks = factory.architecture.blocks_of(part, fbnet[f"{keys}_BLOCKS"])
    stride = fbnet[f"{keys}_STRIDE"]
    if stride not in (0, 1, 2):
        raise ConfigError(f"MODEL.FBNET.{keys}_STRIDE: expected 0, 1 or 2, got {stride}")
    if stride:
        first = next(iter(blocks))
        blocks[first] = replace(blocks[first], stride=stride)
    body = factory.blocks(blocks, in_channels)
    last = factory.last(body.out_channels, fbnet[f"{keys}_LAST_SCALE"])
    return FBNetROIHead(
        pooler=make_pooler(cfg, section),
        head=nn.Sequential(OrderedDict([("blocks", body.module), ("last", last.module)])),
        out_channels=last.out_channels,
    )


build_fbnet_box_head = partial(_build_head, part="bbox", keys="DET_HEAD", section="ROI_BOX_HEAD")
build_fbnet_mask_head = partial(_build_head, part="mask", keys="MASK_HEAD", section="ROI_MASK_HEAD")
build_fbnet_keypoint_head = partial(
    _build_head, part="kpts", keys="KPTS_HEAD", section="ROI_KEYPOINT_HEAD"
)
ROI_BOX_FEATURE_EXTRACTORS.register("FBNet.roi_head", build_fbnet_box_head)
ROI_MASK_FEATURE_EXTRACTORS.register("FBNet.roi_head_mask", build_fbnet_mask_head)
ROI_KEYPOINT_FEATURE_EXTRACTORS.register("FBNet.roi_head_keypoints", build_fbnet_keypoint_head)
