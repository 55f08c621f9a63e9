"""The keypoint head: features, heat maps, then a loss or keypoints."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.feature_extractors import (
    build_roi_keypoint_feature_extractor,
)
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.inference import attach_keypoints
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.loss import (
    KeypointTargetAssigner,
    keypoint_loss,
)
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.predictors import (
    build_roi_keypoint_predictor,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList


class KeypointHeadOutput(NamedTuple):
    """Result of the keypoint head.

    Attributes:
        detections: what went in; in evaluation with the field `keypoints`.
        losses: `loss_kp` in training, else empty.
    """

    detections: list[BoxList]
    losses: dict[str, Tensor]


class ROIKeypointHead(nn.Module):
    """Finds the points of the instance in every box.

    Args:
        feature_extractor: maps and boxes -> features of each roi.
        predictor: features -> heat-map logits.
        assigner: proposals and ground truth -> KeypointTargets.
        shares_box_features: the extractor is the box head's, whose features are taken in training.
    """

    def __init__(
        self,
        *,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        assigner: KeypointTargetAssigner,
        shares_box_features: bool = False,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.assigner = assigner
        self.shares_box_features = shares_box_features

    def forward(
        self,
        features: Sequence[Tensor],
        proposals: list[BoxList],
        targets: Sequence[BoxList] | None = None,
        box_features: Tensor | None = None,
    ) -> KeypointHeadOutput:
        """Losses in training with `targets`, keypoints otherwise.

        Args:
            features: pyramid maps, finest first.
            proposals: one BoxList an image, px of the resized image.
            targets: one BoxList an image with the fields `labels` and `keypoints`.
            box_features: the box head's features of the proposals; used in training where the
                extractor is shared.
        """
        if self.training and targets is not None:
            loss = self._loss(features, proposals, targets, box_features)
            return KeypointHeadOutput(detections=proposals, losses={"loss_kp": loss})
        heatmaps = self.predictor(self.feature_extractor(features, proposals))
        return KeypointHeadOutput(detections=attach_keypoints(proposals, heatmaps), losses={})

    def _loss(
        self,
        features: Sequence[Tensor],
        proposals: list[BoxList],
        targets: Sequence[BoxList],
        box_features: Tensor | None,
    ) -> Tensor:
        keypoint_targets = self.assigner(proposals, targets)
        if self.shares_box_features and box_features is not None:
            encoded = box_features[keypoint_targets.indices]
        else:
            encoded = self.feature_extractor(features, keypoint_targets.proposals)
        logits: Tensor = self.predictor(encoded)
        if logits.shape[-1] != self.assigner.heatmap_side:
            raise ValueError(
                "MODEL.ROI_KEYPOINT_HEAD.RESOLUTION: expected the side of the predicted heat "
                f"maps, {logits.shape[-1]}, got {self.assigner.heatmap_side}"
            )
        return keypoint_loss(logits, keypoint_targets.cells, keypoint_targets.valid)


def build_roi_keypoint_head(
    cfg: CfgNode, in_channels: int, box_extractor: nn.Module | None = None
) -> ROIKeypointHead:
    """The keypoint head that MODEL.ROI_KEYPOINT_HEAD describes.

    Args:
        cfg: settings.
        in_channels: channels of the maps.
        box_extractor: the box head's feature extractor, if the keypoint head is to share it.
    """
    roi_heads = cfg.MODEL.ROI_HEADS
    extractor = box_extractor or build_roi_keypoint_feature_extractor(cfg, in_channels)
    return ROIKeypointHead(
        feature_extractor=extractor,
        predictor=build_roi_keypoint_predictor(cfg, cast(int, extractor.out_channels)),
        assigner=KeypointTargetAssigner(
            matcher=Matcher(roi_heads.FG_IOU_THRESHOLD, roi_heads.BG_IOU_THRESHOLD),
            sampler=BalancedPositiveNegativeSampler(
                roi_heads.BATCH_SIZE_PER_IMAGE, roi_heads.POSITIVE_FRACTION
            ),
            heatmap_side=cfg.MODEL.ROI_KEYPOINT_HEAD.RESOLUTION,
        ),
        shares_box_features=box_extractor is not None,
    )
