"""Features of the keypoint head."""

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.poolers import make_pooler
from maskrcnn_benchmark.modeling.registry import ROI_KEYPOINT_FEATURE_EXTRACTORS
from maskrcnn_benchmark.modeling.roi_heads.mask_head.feature_extractors import (
    MaskRCNNFPNFeatureExtractor,
)


class KeypointRCNNFeatureExtractor(MaskRCNNFPNFeatureExtractor):
    """The convolutions of Mask R-CNN's mask head, under other names.

    Source: Mask R-CNN (arXiv 1703.06870), section 5.
    """

    conv_prefix = "conv_fcn"


@ROI_KEYPOINT_FEATURE_EXTRACTORS.register("KeypointRCNNFeatureExtractor")
def build_keypoint_rcnn(cfg: CfgNode, in_channels: int) -> KeypointRCNNFeatureExtractor:
    """The convolutions that MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS lists."""
    return KeypointRCNNFeatureExtractor(
        pooler=make_pooler(cfg, "ROI_KEYPOINT_HEAD"),
        in_channels=in_channels,
        conv_channels=cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS,
    )
