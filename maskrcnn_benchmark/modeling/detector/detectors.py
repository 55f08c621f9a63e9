"""Models by configuration."""

from typing import cast

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, ConfigError
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.detector.generalized_rcnn import GeneralizedRCNN
from maskrcnn_benchmark.modeling.roi_heads.roi_heads import build_roi_heads


def build_detection_model(cfg: CfgNode) -> GeneralizedRCNN:
    """The model that the configuration describes, in training mode, on the CPU.

    Raises:
        ConfigError: for settings that contradict each other or name unknown parts.
    """
    if cfg.MODEL.META_ARCHITECTURE != "GeneralizedRCNN":
        raise ConfigError(
            "MODEL.META_ARCHITECTURE: expected 'GeneralizedRCNN', "
            f"got {cfg.MODEL.META_ARCHITECTURE!r}"
        )
    spec = ArchitectureSpec.from_config(cfg)
    backbone = build_backbone(cfg)
    out_channels = cast(int, backbone.out_channels)
    return GeneralizedRCNN(
        backbone=backbone,
        rpn=build_rpn(cfg, out_channels, spec),
        roi_heads=build_roi_heads(cfg, out_channels, spec),
    )
