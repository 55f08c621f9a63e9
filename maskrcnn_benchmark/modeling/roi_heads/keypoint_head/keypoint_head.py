"""The keypoint head: features, heat maps, then a loss or keypoints."""

from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.registry import (
    ROI_HEADS,
    ROI_KEYPOINT_FEATURE_EXTRACTORS,
    ROI_KEYPOINT_PREDICTOR,
)
from maskrcnn_benchmark.modeling.roi_heads.head import ROIHead, RoiInputs, RoiOutput
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head import feature_extractors, predictors  # noqa: F401  # registers them
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.inference import attach_keypoints
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.loss import (
    KeypointTargetAssigner,
    keypoint_loss,
)
from maskrcnn_benchmark.modeling.roi_heads.parts import make_extractor


class ROIKeypointHead(ROIHead):
    """Finds the points of the instance in every box.

    Args:
        feature_extractor: maps and boxes -> features of each roi.
        predictor: features -> heat-map logits.
        assigner: proposals and ground truth -> KeypointTargets.
        shares_box_features: the extractor is the box head's, whose features are taken in training.
        pixel_offset: of the keypoints found, see ``Keypoints``.
    """

    def __init__(
        self,
        *,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        assigner: KeypointTargetAssigner,
        shares_box_features: bool = False,
        pixel_offset: int = LEGACY_PIXEL_OFFSET,
    ) -> None:
        super().__init__(
            feature_extractor=feature_extractor,
            predictor=predictor,
            shares_box_features=shares_box_features,
        )
        self.assigner = assigner
        self.pixel_offset = pixel_offset

    def forward(self, inputs: RoiInputs) -> RoiOutput:
        """``loss_kp``, or the boxes with the field ``keypoints``.

        Targets need the fields ``labels`` and ``keypoints``.
        """
        if inputs.targets is None:
            heatmaps: Tensor = self.predictor(self.extract(inputs, inputs.boxes).encoded)
            found = attach_keypoints(inputs.boxes, heatmaps, pixel_offset=self.pixel_offset)
            return RoiOutput(found, {})
        targets = self.assigner(inputs.boxes, inputs.targets, inputs.device)
        encoded = self.extract(inputs, targets.proposals, targets.indices).encoded
        logits: Tensor = self.predictor(encoded)
        if logits.shape[-1] != self.assigner.heatmap_side:
            raise ValueError(
                "MODEL.ROI_KEYPOINT_HEAD.RESOLUTION: expected the side of the predicted heat "
                f"maps, {logits.shape[-1]}, got {self.assigner.heatmap_side}"
            )
        loss = keypoint_loss(logits, targets.cells, targets.valid)
        return RoiOutput(inputs.boxes, {"loss_kp": loss})


# UPSTREAM(keypoint-head): roi_heads.py never built it, so KEYPOINT_ON changed nothing.
@ROI_HEADS.register("keypoint")
def build_roi_keypoint_head(
    cfg: CfgNode,
    in_channels: int,
    spec: ArchitectureSpec,
    box_extractor: nn.Module | None = None,
) -> ROIKeypointHead:
    """The keypoint head that MODEL.ROI_KEYPOINT_HEAD describes."""
    head, roi_heads = cfg.MODEL.ROI_KEYPOINT_HEAD, cfg.MODEL.ROI_HEADS
    extractor = make_extractor(
        cfg, "ROI_KEYPOINT_HEAD", ROI_KEYPOINT_FEATURE_EXTRACTORS, in_channels, spec, box_extractor
    )
    return ROIKeypointHead(
        feature_extractor=extractor,
        predictor=ROI_KEYPOINT_PREDICTOR.build(head.PREDICTOR, cfg, extractor.out_channels, spec),
        assigner=KeypointTargetAssigner(
            matcher=Matcher(roi_heads.FG_IOU_THRESHOLD, roi_heads.BG_IOU_THRESHOLD),
            sampler=BalancedPositiveNegativeSampler(
                roi_heads.BATCH_SIZE_PER_IMAGE, roi_heads.POSITIVE_FRACTION
            ),
            heatmap_side=head.RESOLUTION,
        ),
        shares_box_features=extractor is box_extractor,
        pixel_offset=Convention.from_config(cfg).keypoint_offset,
    )
