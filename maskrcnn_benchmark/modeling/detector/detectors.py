"""Models by configuration."""

from collections.abc import Sequence
from typing import cast

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.detector.generalized_rcnn import PIXEL_STD, GeneralizedRCNN
from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.modeling.postprocessing import clip_detections
from maskrcnn_benchmark.modeling.roi_heads.roi_heads import CombinedROIHeads, build_roi_heads
from maskrcnn_benchmark.modeling.strides import Level, check_scales


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
    # Backbones of scripts have channels alone.
    levels: Sequence[Level] | None = getattr(backbone, "levels", None)
    rpn = build_rpn(cfg, out_channels, spec, levels)
    roi_heads = build_roi_heads(cfg, out_channels, spec, levels)
    _check_poolers(roi_heads, levels)
    return GeneralizedRCNN(
        backbone=backbone,
        rpn=rpn,
        roi_heads=roi_heads,
        finish=clip_detections if Convention.from_config(cfg).clips_detections else None,
        input_std=_make_input_std(cfg),
    )


def _make_input_std(cfg: CfgNode) -> float:
    pixel_std = PIXEL_STD if cfg.INPUT.TO_BGR255 else PIXEL_STD / 255
    divisors = [float(value) for value in cfg.INPUT.PIXEL_STD]
    return pixel_std * len(divisors) / sum(divisors)


def _check_poolers(heads: CombinedROIHeads | None, levels: Sequence[Level] | None) -> None:
    for name, head in heads.items() if heads is not None else ():
        for module in head.modules():
            if isinstance(module, Pooler):
                check_scales(f"MODEL.ROI_{name.upper()}_HEAD.POOLER_SCALES", module.scales, levels)
