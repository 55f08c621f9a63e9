"""The region proposal network (Faster R-CNN, Ren et al. 2015, section 3.1)."""

from collections.abc import Sequence

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.families import Family
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import make_anchor_generator
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.modeling.dense.rpn.inference import ProposalSelection, ProposalSettings
from maskrcnn_benchmark.modeling.dense.rpn.loss import RPNLoss
from maskrcnn_benchmark.modeling.dense.stage import DenseStage
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.registry import RPN_HEADS
from maskrcnn_benchmark.modeling.strides import Level, check_strides


def _make_selection(cfg: CfgNode, coder: BoxCoder, *, is_train: bool) -> ProposalSelection:
    rpn, convention = cfg.MODEL.RPN, Convention.from_config(cfg)
    settings = ProposalSettings(
        pre_nms_top_n=rpn.PRE_NMS_TOP_N_TRAIN if is_train else rpn.PRE_NMS_TOP_N_TEST,
        nms_threshold=rpn.NMS_THRESH,
        post_nms_top_n=rpn.POST_NMS_TOP_N_TRAIN if is_train else rpn.POST_NMS_TOP_N_TEST,
        fpn_post_nms_top_n=(
            rpn.FPN_POST_NMS_TOP_N_TRAIN if is_train else rpn.FPN_POST_NMS_TOP_N_TEST
        ),
        per_batch=is_train and rpn.FPN_POST_NMS_PER_BATCH,
        min_size=max(rpn.MIN_SIZE, convention.min_proposal_side),
        pixel_offset=convention.pixel_offset,
    )
    return ProposalSelection(settings, coder)


def build_proposal_network(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec, levels: Sequence[Level] | None
) -> DenseStage[RPNOutputs]:
    """The network that MODEL.RPN describes, for features of ``in_channels`` channels."""
    rpn = cfg.MODEL.RPN
    check_strides("MODEL.RPN.ANCHOR_STRIDE", rpn.ANCHOR_STRIDE, levels)
    convention = Convention.from_config(cfg)
    rules = convention.two_stage
    coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0), pixel_offset=convention.pixel_offset)
    anchor_generator = make_anchor_generator(cfg)
    num_anchors = anchor_generator.num_anchors_per_location
    return DenseStage(
        head=RPN_HEADS.build(rpn.RPN_HEAD, cfg, in_channels, num_anchors),
        outputs=RPNOutputs,
        points=anchor_generator,
        loss=RPNLoss(
            matcher=Matcher(
                rpn.FG_IOU_THRESHOLD, rpn.BG_IOU_THRESHOLD, allow_low_quality_matches=True
            ),
            sampler=BalancedPositiveNegativeSampler(
                rpn.BATCH_SIZE_PER_IMAGE, rpn.POSITIVE_FRACTION
            ),
            coder=coder,
            straddle_thresh=rpn.STRADDLE_THRESH,
            beta=rules.rpn_beta,
            num_wanted=rpn.BATCH_SIZE_PER_IMAGE if rules.counts_wanted else None,
        ),
        select_train=_make_selection(cfg, coder, is_train=True) if spec.roi_heads else None,
        select_test=_make_selection(cfg, coder, is_train=False),
    )


RPN = Family(
    build_proposal_network,
    class_keys=(),
    gives_labels=False,
    threshold_key="MODEL.ROI_HEADS.SCORE_THRESH",
    has_rules=True,
)
