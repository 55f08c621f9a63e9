"""The FCOS proposal stage: head, losses and box selection."""

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.layers import IOULoss, SigmoidFocalLoss
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.dense.fcos.inference import (
    FCOSPostProcessor,
    FCOSSelectionSettings,
)
from maskrcnn_benchmark.modeling.dense.fcos.locations import compute_locations
from maskrcnn_benchmark.modeling.dense.fcos.loss import FCOSLoss
from maskrcnn_benchmark.modeling.dense.fcos.targets import FCOSTargetAssigner, FCOSTargetSettings
from maskrcnn_benchmark.modeling.dense.output import ProposalOutput
from maskrcnn_benchmark.modeling.postprocessing import append_ground_truth
from maskrcnn_benchmark.modeling.registry import FCOS_HEADS
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList


class FCOSModule(nn.Module):
    """Proposes labelled boxes; in training also returns the losses.

    Args:
        head: feature maps -> FCOSOutputs.
        loss: outputs, locations and targets -> losses.
        select_train: box selection in training, or None when no later head wants proposals.
        select_test: box selection in evaluation.
        strides: px per cell of each level.
        dense_points: points per cell.
    """

    def __init__(
        self,
        *,
        head: nn.Module,
        loss: FCOSLoss,
        select_train: FCOSPostProcessor | None,
        select_test: FCOSPostProcessor,
        strides: Sequence[int],
        dense_points: int = 1,
    ) -> None:
        super().__init__()
        self.head = head
        self.loss = loss
        self.select_train = select_train
        self.select_test = select_test
        self.strides = tuple(strides)
        self.dense_points = dense_points

    def forward(
        self,
        images: ImageList,
        features: Sequence[Tensor],
        targets: Sequence[BoxList] | None = None,
    ) -> ProposalOutput:
        """Boxes with `labels` and `scores`, and losses (empty in evaluation).

        In training the ground-truth boxes follow the selected ones, with score 1.
        """
        outputs: FCOSOutputs = self.head(features)
        locations = compute_locations(features, self.strides, self.dense_points)
        if not self.training or targets is None:
            proposals = self.select_test(outputs, locations, images.image_sizes)
            return ProposalOutput(proposals=proposals, losses={})
        losses = self.loss(outputs, locations, targets)
        if self.select_train is None:
            return ProposalOutput(proposals=[], losses=losses)
        proposals = self.select_train(outputs, locations, images.image_sizes)
        return ProposalOutput(proposals=append_ground_truth(proposals, targets), losses=losses)


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


def _make_post_processor(
    cfg: CfgNode, num_foreground: int, post_nms_top_n: int
) -> FCOSPostProcessor:
    fcos = cfg.MODEL.FCOS
    settings = FCOSSelectionSettings(
        score_threshold=fcos.INFERENCE_TH,
        pre_nms_top_n=fcos.PRE_NMS_TOP_N,
        nms_threshold=fcos.NMS_TH,
        post_nms_top_n=post_nms_top_n,
    )
    return FCOSPostProcessor(settings, num_foreground)


def build_fcos(cfg: CfgNode, in_channels: int, spec: ArchitectureSpec) -> FCOSModule:
    """The FCOS stage that MODEL.FCOS describes, for features of `in_channels` channels."""
    fcos = cfg.MODEL.FCOS
    num_foreground = spec.num_classes - 1
    return FCOSModule(
        head=FCOS_HEADS.build(fcos.HEAD, cfg, in_channels, spec),
        loss=FCOSLoss(
            assigner=FCOSTargetAssigner(make_target_settings(cfg)),
            focal_loss=SigmoidFocalLoss(fcos.LOSS_GAMMA, fcos.LOSS_ALPHA),
            iou_loss=IOULoss(fcos.LOC_LOSS_TYPE),
            num_foreground=num_foreground,
        ),
        select_train=(
            _make_post_processor(cfg, num_foreground, fcos.POST_NMS_TOP_N_TRAIN)
            if spec.roi_heads
            else None
        ),
        select_test=_make_post_processor(cfg, num_foreground, cfg.TEST.DETECTIONS_PER_IMG),
        strides=fcos.FPN_STRIDES,
        dense_points=fcos.DENSE_POINTS,
    )
