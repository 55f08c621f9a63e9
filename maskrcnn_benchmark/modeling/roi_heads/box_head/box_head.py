"""The box head: features, classes and offsets, then losses or detections."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.registry import (
    ROI_BOX_FEATURE_EXTRACTORS,
    ROI_BOX_PREDICTOR,
    ROI_HEADS,
)
from maskrcnn_benchmark.modeling.roi_heads.box_head import feature_extractors, predictors  # noqa: F401  # registers them
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import (
    BoxPostProcessor,
    BoxSelectionSettings,
)
from maskrcnn_benchmark.modeling.roi_heads.box_head.loss import (
    BoxTargetAssigner,
    BoxTargets,
    box_losses,
)
from maskrcnn_benchmark.modeling.roi_heads.head import BoxFeatures, ROIHead, RoiInputs, RoiOutput
from maskrcnn_benchmark.modeling.roi_heads.parts import make_extractor


class ROIBoxHead(ROIHead):
    """Classifies proposals and improves their boxes.

    Args:
        feature_extractor: maps and boxes -> features of each roi.
        predictor: features -> class logits and box offsets, as in ``BoxPrediction``.
        assigner: proposals and ground truth -> BoxTargets.
        post_processor: prediction and proposals -> detections.
        losses: prediction and BoxTargets -> losses by name, as ``box_losses``.
    """

    def __init__(
        self,
        *,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        assigner: BoxTargetAssigner,
        post_processor: BoxPostProcessor,
        losses: Callable[[Tensor, Tensor, BoxTargets], dict[str, Tensor]] = box_losses,
    ) -> None:
        super().__init__(feature_extractor=feature_extractor, predictor=predictor)
        self.assigner = assigner
        self.post_processor = post_processor
        self.losses = losses

    def forward(self, inputs: RoiInputs) -> RoiOutput:
        """``loss_classifier`` and ``loss_box_reg`` of a sample of the proposals, or detections.

        Targets need the field ``labels``. The sample has that field, too, detections have
        ``labels`` and ``scores``.
        """
        if inputs.targets is None:
            class_logits, offsets = self.predictor(self.extract(inputs, inputs.boxes).encoded)
            return RoiOutput(self.post_processor(class_logits, offsets, inputs.boxes), {})
        targets = self.assigner(inputs.boxes, inputs.targets, inputs.device)
        encoded = self.extract(inputs, targets.proposals).encoded
        class_logits, offsets = self.predictor(encoded)
        losses = self.losses(class_logits, offsets, targets)
        return RoiOutput(targets.proposals, losses, {BoxFeatures: BoxFeatures(encoded)})


@ROI_HEADS.register("box")
def build_roi_box_head(cfg: CfgNode, in_channels: int, spec: ArchitectureSpec) -> ROIBoxHead:
    """The box head that MODEL.ROI_HEADS and MODEL.ROI_BOX_HEAD describe."""
    roi_heads, convention = cfg.MODEL.ROI_HEADS, Convention.from_config(cfg)
    extractor = make_extractor(cfg, "ROI_BOX_HEAD", ROI_BOX_FEATURE_EXTRACTORS, in_channels, spec)
    box_coder = BoxCoder(
        weights=tuple(roi_heads.BBOX_REG_WEIGHTS), pixel_offset=convention.pixel_offset
    )
    settings = BoxSelectionSettings(
        score_threshold=roi_heads.SCORE_THRESH,
        nms_threshold=roi_heads.NMS,
        detections_per_image=roi_heads.DETECTIONS_PER_IMG,
        min_side=convention.roi.min_side,
        best_first=convention.best_first,
    )
    return ROIBoxHead(
        feature_extractor=extractor,
        predictor=ROI_BOX_PREDICTOR.build(
            cfg.MODEL.ROI_BOX_HEAD.PREDICTOR, cfg, extractor.out_channels, spec
        ),
        assigner=BoxTargetAssigner(
            matcher=Matcher(roi_heads.FG_IOU_THRESHOLD, roi_heads.BG_IOU_THRESHOLD),
            sampler=BalancedPositiveNegativeSampler(
                roi_heads.BATCH_SIZE_PER_IMAGE, roi_heads.POSITIVE_FRACTION
            ),
            box_coder=box_coder,
        ),
        post_processor=BoxPostProcessor(settings=settings, box_coder=box_coder),
        losses=partial(box_losses, beta=convention.two_stage.box_beta),
    )
