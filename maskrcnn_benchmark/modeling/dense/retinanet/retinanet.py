"""The RetinaNet proposal stage: head, losses and box selection; with a mask head, RetinaMask."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.layers import (
    SelfAdjustingSmoothL1Loss,
    SigmoidFocalLoss,
    smooth_l1_loss,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import (
    AnchorGenerator,
    make_anchor_generator_retinanet,
)
from maskrcnn_benchmark.modeling.dense.output import ProposalOutput
from maskrcnn_benchmark.modeling.dense.retinanet.head import RetinaNetHead, RetinaNetHeadSettings
from maskrcnn_benchmark.modeling.dense.retinanet.inference import (
    RetinaNetPostProcessor,
    RetinaNetSelectionSettings,
)
from maskrcnn_benchmark.modeling.dense.retinanet.loss import RetinaNetLoss
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.postprocessing import append_ground_truth
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

_CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Source: maskrcnn-benchmark, whatever the configuration says."""


class RetinaNetModule(nn.Module):
    """Proposes labelled boxes; in training also returns the losses.

    Args:
        anchor_generator: feature maps -> anchors of every level.
        head: feature maps -> RetinaNetOutputs.
        loss: outputs, anchors and targets -> losses.
        select_train: box selection in training, or None when no later head wants proposals.
        select_test: box selection in evaluation.
    """

    def __init__(
        self,
        *,
        anchor_generator: AnchorGenerator,
        head: RetinaNetHead,
        loss: RetinaNetLoss,
        select_train: RetinaNetPostProcessor | None,
        select_test: RetinaNetPostProcessor,
    ) -> None:
        super().__init__()
        self.anchor_generator = anchor_generator
        self.head = head
        self.loss = loss
        self.select_train = select_train
        self.select_test = select_test

    def forward(
        self,
        images: ImageList,
        features: Sequence[Tensor],
        targets: Sequence[BoxList] | None = None,
    ) -> ProposalOutput:
        """Boxes with `labels` and `scores`, and losses (empty in evaluation).

        In training the ground-truth boxes follow the selected ones, with score 1.
        """
        outputs = self.head(features)
        anchors = self.anchor_generator(features)
        if not self.training or targets is None:
            proposals = self.select_test(outputs, anchors, images.image_sizes)
            return ProposalOutput(proposals=proposals, losses={})
        losses = self.loss(outputs, anchors, targets)
        if self.select_train is None:
            return ProposalOutput(proposals=[], losses=losses)
        proposals = self.select_train(outputs, anchors, images.image_sizes)
        return ProposalOutput(proposals=append_ground_truth(proposals, targets), losses=losses)


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


def _make_post_processor(
    cfg: CfgNode, coder: BoxCoder, num_foreground: int, post_nms_top_n: int
) -> RetinaNetPostProcessor:
    retinanet = cfg.MODEL.RETINANET
    settings = RetinaNetSelectionSettings(
        score_threshold=retinanet.INFERENCE_TH,
        pre_nms_top_n=retinanet.PRE_NMS_TOP_N,
        nms_threshold=retinanet.NMS_TH,
        post_nms_top_n=post_nms_top_n,
    )
    return RetinaNetPostProcessor(settings, coder, num_foreground)


def build_retinanet(cfg: CfgNode, in_channels: int, spec: ArchitectureSpec) -> RetinaNetModule:
    """The stage that MODEL.RETINANET describes, for features of `in_channels` channels."""
    retinanet = cfg.MODEL.RETINANET
    num_foreground = spec.num_classes - 1
    anchor_generator = make_anchor_generator_retinanet(cfg)
    coder = BoxCoder(weights=_CODE_WEIGHTS)
    limit = num_tested = cfg.TEST.DETECTIONS_PER_IMG
    if spec.roi_heads and retinanet.NUM_MASKS_TEST > 0:
        num_tested = min(limit, retinanet.NUM_MASKS_TEST) if limit > 0 else retinanet.NUM_MASKS_TEST
    return RetinaNetModule(
        anchor_generator=anchor_generator,
        head=RetinaNetHead(
            RetinaNetHeadSettings(
                in_channels=in_channels,
                num_anchors=anchor_generator.num_anchors_per_location,
                num_foreground=num_foreground,
                num_convs=retinanet.NUM_CONVS,
                prior_prob=retinanet.PRIOR_PROB,
            )
        ),
        loss=_make_loss(cfg, coder, num_foreground),
        select_train=(
            _make_post_processor(cfg, coder, num_foreground, limit) if spec.roi_heads else None
        ),
        select_test=_make_post_processor(cfg, coder, num_foreground, num_tested),
    )
