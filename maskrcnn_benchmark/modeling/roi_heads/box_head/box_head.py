"""The box head: features, classes and offsets, then losses or detections."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.box_head.feature_extractors import (
    build_roi_box_feature_extractor,
)
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import (
    BoxPostProcessor,
    BoxSelectionSettings,
)
from maskrcnn_benchmark.modeling.roi_heads.box_head.loss import BoxTargetAssigner, box_losses
from maskrcnn_benchmark.modeling.roi_heads.box_head.predictors import build_roi_box_predictor
from maskrcnn_benchmark.structures.bounding_box import BoxList


class BoxHeadOutput(NamedTuple):
    """Result of the box head.

    Attributes:
        detections: in training the sampled proposals with `labels`, else the detections with
            `labels` and `scores`; one BoxList an image.
        losses: `loss_classifier` and `loss_box_reg` in training, else empty.
        features: of all rois that went in (in training: of the sampled ones), for heads that
            share the feature extractor.
    """

    detections: list[BoxList]
    losses: dict[str, Tensor]
    features: Tensor


class ROIBoxHead(nn.Module):
    """Classifies proposals and improves their boxes.

    Args:
        feature_extractor: maps and boxes -> features of each roi.
        predictor: features -> BoxPrediction.
        assigner: proposals and ground truth -> BoxTargets.
        post_processor: prediction and proposals -> detections.
    """

    def __init__(
        self,
        *,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        assigner: BoxTargetAssigner,
        post_processor: BoxPostProcessor,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.assigner = assigner
        self.post_processor = post_processor

    def forward(
        self,
        features: Sequence[Tensor],
        proposals: list[BoxList],
        targets: Sequence[BoxList] | None = None,
    ) -> BoxHeadOutput:
        """Losses in training with `targets`, detections otherwise.

        Args:
            features: maps, finest first.
            proposals: one BoxList an image, px of the resized image.
            targets: one BoxList an image with the field `labels`.
        """
        if self.training and targets is not None:
            box_targets = self.assigner(proposals, targets)
            roi_features = self.feature_extractor(features, box_targets.proposals)
            class_logits, box_regression = self.predictor(roi_features)
            losses = box_losses(class_logits, box_regression, box_targets)
            return BoxHeadOutput(box_targets.proposals, losses, roi_features)
        roi_features = self.feature_extractor(features, proposals)
        class_logits, box_regression = self.predictor(roi_features)
        detections = self.post_processor(class_logits, box_regression, proposals)
        return BoxHeadOutput(detections, {}, roi_features)


def build_roi_box_head(cfg: CfgNode, in_channels: int) -> ROIBoxHead:
    """The box head that MODEL.ROI_HEADS and MODEL.ROI_BOX_HEAD describe."""
    roi_heads = cfg.MODEL.ROI_HEADS
    extractor = build_roi_box_feature_extractor(cfg, in_channels)
    box_coder = BoxCoder(weights=tuple(roi_heads.BBOX_REG_WEIGHTS))
    settings = BoxSelectionSettings(
        score_threshold=roi_heads.SCORE_THRESH,
        nms_threshold=roi_heads.NMS,
        detections_per_image=roi_heads.DETECTIONS_PER_IMG,
    )
    return ROIBoxHead(
        feature_extractor=extractor,
        predictor=build_roi_box_predictor(cfg, cast(int, extractor.out_channels)),
        assigner=BoxTargetAssigner(
            matcher=Matcher(roi_heads.FG_IOU_THRESHOLD, roi_heads.BG_IOU_THRESHOLD),
            sampler=BalancedPositiveNegativeSampler(
                roi_heads.BATCH_SIZE_PER_IMAGE, roi_heads.POSITIVE_FRACTION
            ),
            box_coder=box_coder,
        ),
        post_processor=BoxPostProcessor(settings=settings, box_coder=box_coder),
    )
