"""The region proposal network (Faster R-CNN, Ren et al. 2015, section 3.1)."""

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import (
    AnchorGenerator,
    make_anchor_generator,
)
from maskrcnn_benchmark.modeling.dense.output import ProposalOutput
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.modeling.dense.rpn.inference import RPNPostProcessor, RPNSelectionSettings
from maskrcnn_benchmark.modeling.dense.rpn.loss import RPNLoss
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.postprocessing import append_ground_truth
from maskrcnn_benchmark.modeling.registry import RPN_HEADS
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList


class RPNModule(nn.Module):
    """Proposes boxes without classes; in training also returns the losses.

    Args:
        anchor_generator: feature maps -> anchors of every level.
        head: feature maps -> RPNOutputs.
        loss: outputs, anchors and targets -> losses.
        select_train: box selection in training, or None when no later head wants proposals.
        select_test: box selection in evaluation.
    """

    def __init__(
        self,
        *,
        anchor_generator: AnchorGenerator,
        head: nn.Module,
        loss: RPNLoss,
        select_train: RPNPostProcessor | None,
        select_test: RPNPostProcessor,
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
        """Boxes with `objectness`, and losses (empty in evaluation).

        In training the ground-truth boxes follow the selected ones, with objectness 1.
        """
        outputs = RPNOutputs(*self.head(features))
        anchors = self.anchor_generator(features)
        if not self.training or targets is None:
            proposals = self.select_test(outputs, anchors, images.image_sizes)
            return ProposalOutput(proposals=proposals, losses={})
        losses = self.loss(outputs, anchors, images.image_sizes, targets)
        if self.select_train is None:
            return ProposalOutput(proposals=[], losses=losses)
        proposals = self.select_train(outputs, anchors, images.image_sizes)
        proposals = append_ground_truth(proposals, targets, "objectness", with_labels=False)
        return ProposalOutput(proposals=proposals, losses=losses)


def _make_selection_settings(cfg: CfgNode, is_train: bool) -> RPNSelectionSettings:
    rpn = cfg.MODEL.RPN
    return RPNSelectionSettings(
        pre_nms_top_n=rpn.PRE_NMS_TOP_N_TRAIN if is_train else rpn.PRE_NMS_TOP_N_TEST,
        nms_threshold=rpn.NMS_THRESH,
        post_nms_top_n=rpn.POST_NMS_TOP_N_TRAIN if is_train else rpn.POST_NMS_TOP_N_TEST,
        fpn_post_nms_top_n=(
            rpn.FPN_POST_NMS_TOP_N_TRAIN if is_train else rpn.FPN_POST_NMS_TOP_N_TEST
        ),
        per_batch=is_train and rpn.FPN_POST_NMS_PER_BATCH,
        min_size=rpn.MIN_SIZE,
    )


def build_proposal_network(cfg: CfgNode, in_channels: int, spec: ArchitectureSpec) -> RPNModule:
    """The network that MODEL.RPN describes, for features of `in_channels` channels."""
    rpn = cfg.MODEL.RPN
    coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
    anchor_generator = make_anchor_generator(cfg)
    num_anchors = anchor_generator.num_anchors_per_location
    return RPNModule(
        anchor_generator=anchor_generator,
        head=RPN_HEADS.build(rpn.RPN_HEAD, cfg, in_channels, num_anchors),
        loss=RPNLoss(
            matcher=Matcher(
                rpn.FG_IOU_THRESHOLD, rpn.BG_IOU_THRESHOLD, allow_low_quality_matches=True
            ),
            sampler=BalancedPositiveNegativeSampler(
                rpn.BATCH_SIZE_PER_IMAGE, rpn.POSITIVE_FRACTION
            ),
            coder=coder,
            straddle_thresh=rpn.STRADDLE_THRESH,
        ),
        select_train=(
            RPNPostProcessor(_make_selection_settings(cfg, is_train=True), coder)
            if spec.roi_heads
            else None
        ),
        select_test=RPNPostProcessor(_make_selection_settings(cfg, is_train=False), coder),
    )
