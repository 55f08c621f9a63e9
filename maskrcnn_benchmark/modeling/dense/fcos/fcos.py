"""The FCOS proposal stage: head, losses and box selection."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.families import Family
from maskrcnn_benchmark.layers import IOULoss, SigmoidFocalLoss
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.dense.fcos.inference import SCORES, decode_levels
from maskrcnn_benchmark.modeling.dense.fcos.locations import compute_locations
from maskrcnn_benchmark.modeling.dense.fcos.loss import DIVISORS, FCOSLoss
from maskrcnn_benchmark.modeling.dense.fcos.targets import FCOSTargetAssigner, FCOSTargetSettings
from maskrcnn_benchmark.modeling.dense.selection import Selection, SelectionSettings
from maskrcnn_benchmark.modeling.dense.stage import DenseStage
from maskrcnn_benchmark.modeling.registry import FCOS_HEADS
from maskrcnn_benchmark.modeling.strides import Level, check_strides


def make_target_settings(cfg: CfgNode) -> FCOSTargetSettings:
    """Assignment settings read from MODEL.FCOS.

    Raises:
        ConfigError: if TARGET_ASSIGN and FPN_STRIDES differ in length.
    """
    fcos = cfg.MODEL.FCOS
    # UPSTREAM(target-assign): the original ignores TARGET_ASSIGN and uses its default ranges.
    if len(fcos.TARGET_ASSIGN) != len(fcos.FPN_STRIDES):
        raise ConfigError(
            f"MODEL.FCOS.TARGET_ASSIGN: expected {len(fcos.FPN_STRIDES)} ranges, one for each of "
            f"FPN_STRIDES, got {len(fcos.TARGET_ASSIGN)}"
        )
    return FCOSTargetSettings(
        strides=tuple(fcos.FPN_STRIDES),
        size_ranges=tuple((float(low), float(high)) for low, high in fcos.TARGET_ASSIGN),
        center_sample=fcos.CENTER_SAMPLE,
        radius=fcos.POS_RADIUS,
    )


def build_fcos(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec, levels: Sequence[Level] | None
) -> DenseStage[FCOSOutputs]:
    """The FCOS stage that MODEL.FCOS describes, for features of ``in_channels`` channels."""
    fcos = cfg.MODEL.FCOS
    check_strides("MODEL.FCOS.FPN_STRIDES", fcos.FPN_STRIDES, levels)
    convention = Convention.from_config(cfg)
    rules = convention.fcos
    settings = SelectionSettings(
        score_threshold=fcos.INFERENCE_TH,
        pre_nms_top_n=fcos.PRE_NMS_TOP_N,
        nms_threshold=fcos.NMS_TH,
        post_nms_top_n=fcos.POST_NMS_TOP_N_TRAIN,
        pixel_offset=convention.pixel_offset,
        clips=convention.clips_candidates,
        best_first=convention.best_first,
    )
    decode = partial(decode_levels, score=SCORES[rules.score], limits_score=rules.limits_score)
    test_settings = replace(settings, post_nms_top_n=cfg.TEST.DETECTIONS_PER_IMG)
    return DenseStage(
        head=FCOS_HEADS.build(fcos.HEAD, cfg, in_channels, spec),
        outputs=FCOSOutputs,
        points=partial(
            compute_locations,
            strides=tuple(fcos.FPN_STRIDES),
            dense_points=fcos.DENSE_POINTS,
            rules=convention.grid,
        ),
        loss=FCOSLoss(
            assigner=FCOSTargetAssigner(make_target_settings(cfg)),
            focal_loss=SigmoidFocalLoss(fcos.LOSS_GAMMA, fcos.LOSS_ALPHA),
            iou_loss=IOULoss(fcos.LOC_LOSS_TYPE, enclosing_eps=rules.enclosing_eps),
            num_foreground=spec.num_classes - 1,
            units=fcos.FPN_STRIDES if rules.loss_in_strides else None,
            divisors=DIVISORS[rules.divisors],
        ),
        select_train=Selection(settings, decode) if spec.roi_heads else None,
        select_test=Selection(test_settings, decode),
    )


FCOS = Family(
    build_fcos,
    class_keys=("MODEL.FCOS.NUM_CLASSES",),
    threshold_key="MODEL.FCOS.INFERENCE_TH",
    has_rules=True,
)
