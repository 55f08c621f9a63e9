"""The RetinaNet proposal stage: head, losses and box selection; with a mask head, RetinaMask."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.families import Family
from maskrcnn_benchmark.layers import (
    SelfAdjustingSmoothL1Loss,
    SigmoidFocalLoss,
    smooth_l1_loss,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import make_anchor_generator_retinanet
from maskrcnn_benchmark.modeling.dense.retinanet.head import (
    RetinaNetHead,
    RetinaNetHeadSettings,
    RetinaNetOutputs,
)
from maskrcnn_benchmark.modeling.dense.retinanet.inference import decode_levels
from maskrcnn_benchmark.modeling.dense.retinanet.loss import RetinaNetLoss
from maskrcnn_benchmark.modeling.dense.selection import Selection, SelectionSettings
from maskrcnn_benchmark.modeling.dense.stage import DenseStage
from maskrcnn_benchmark.modeling.make_layers import GroupNormSettings
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.strides import Level, check_strides

_CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Source: maskrcnn-benchmark, whatever the configuration says."""


def _make_loss(cfg: CfgNode, coder: BoxCoder, num_foreground: int) -> RetinaNetLoss:
    retinanet = cfg.MODEL.RETINANET
    box_loss: Callable[[Tensor, Tensor], Tensor] = partial(
        smooth_l1_loss, beta=retinanet.BBOX_REG_BETA, size_average=False
    )
    if retinanet.SELFADJUST_SMOOTH_L1:
        box_loss = SelfAdjustingSmoothL1Loss(num_features=4, beta=retinanet.BBOX_REG_BETA)
    return RetinaNetLoss(
        matcher=Matcher(
            retinanet.FG_IOU_THRESHOLD,
            retinanet.BG_IOU_THRESHOLD,
            allow_low_quality_matches=retinanet.LOW_QUALITY_MATCHES,
            low_quality_threshold=retinanet.LOW_QUALITY_THRESHOLD,
        ),
        coder=coder,
        focal_loss=SigmoidFocalLoss(retinanet.LOSS_GAMMA, retinanet.LOSS_ALPHA),
        box_loss=box_loss,
        box_divisor=retinanet.BBOX_REG_WEIGHT,
        num_foreground=num_foreground,
    )


def build_retinanet(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec, levels: Sequence[Level] | None
) -> DenseStage[RetinaNetOutputs]:
    """The stage that MODEL.RETINANET describes, for features of ``in_channels`` channels."""
    retinanet = cfg.MODEL.RETINANET
    check_strides("MODEL.RETINANET.ANCHOR_STRIDES", retinanet.ANCHOR_STRIDES, levels)
    num_foreground = spec.num_classes - 1
    anchor_generator = make_anchor_generator_retinanet(cfg)
    convention = Convention.from_config(cfg)
    coder = BoxCoder(weights=_CODE_WEIGHTS, pixel_offset=convention.pixel_offset)
    limit = num_tested = cfg.TEST.DETECTIONS_PER_IMG
    if spec.roi_heads and retinanet.NUM_MASKS_TEST > 0:
        num_tested = min(limit, retinanet.NUM_MASKS_TEST) if limit > 0 else retinanet.NUM_MASKS_TEST
    settings = SelectionSettings(
        score_threshold=retinanet.INFERENCE_TH,
        pre_nms_top_n=retinanet.PRE_NMS_TOP_N,
        nms_threshold=retinanet.NMS_TH,
        post_nms_top_n=limit,
        pixel_offset=convention.pixel_offset,
        clips=convention.clips_candidates,
        best_first=convention.best_first,
    )
    decode = partial(decode_levels, coder=coder)
    return DenseStage(
        head=RetinaNetHead(
            RetinaNetHeadSettings(
                in_channels=in_channels,
                num_anchors=anchor_generator.num_anchors_per_location,
                num_foreground=num_foreground,
                num_convs=retinanet.NUM_CONVS,
                prior_prob=retinanet.PRIOR_PROB,
                norm=GroupNormSettings.from_config(cfg) if retinanet.USE_GN else None,
            )
        ),
        outputs=RetinaNetOutputs,
        points=anchor_generator,
        loss=_make_loss(cfg, coder, num_foreground),
        select_train=Selection(settings, decode) if spec.roi_heads else None,
        select_test=Selection(replace(settings, post_nms_top_n=num_tested), decode),
    )


RETINANET = Family(
    build_retinanet,
    class_keys=("MODEL.RETINANET.NUM_CLASSES",),
    threshold_key="MODEL.RETINANET.INFERENCE_TH",
    has_rules=True,
)
