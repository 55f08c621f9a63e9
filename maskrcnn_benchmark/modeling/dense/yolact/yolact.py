"""The YOLACT stage: head, anchors, losses and selection, with masks of its own."""

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.families import Family
from maskrcnn_benchmark.modeling.dense.stage import DenseStage
from maskrcnn_benchmark.modeling.dense.yolact.anchors import YolactAnchors
from maskrcnn_benchmark.modeling.dense.yolact.coefficients import (
    CoefficientReader,
    MapsHead,
    YolactMaps,
)
from maskrcnn_benchmark.modeling.dense.yolact.head import MaskIoUNet, YolactHead, YolactOutputs
from maskrcnn_benchmark.modeling.dense.yolact.inference import YolactSelection
from maskrcnn_benchmark.modeling.dense.yolact.loss import YolactLoss
from maskrcnn_benchmark.modeling.dense.yolact.matching import YolactMatcher
from maskrcnn_benchmark.modeling.dense.yolact.nms import NMS, NmsSettings
from maskrcnn_benchmark.modeling.dense.yolact.settings import YolactSettings
from maskrcnn_benchmark.modeling.strides import Level


class YolactStage(DenseStage[YolactOutputs]):
    """A ``DenseStage`` that knows how to do less in evaluation."""

    def folded(self) -> nn.Module:
        """The same for evaluation, which computes the coefficients of detections alone.

        On a GPU itself: finding their places takes longer there than computing all.
        """
        head, select = self.head, self.select_test
        if not isinstance(head, YolactHead) or not isinstance(select, YolactSelection):
            return self
        if next(self.parameters()).device.type != "cpu":
            return self
        return DenseStage(
            head=MapsHead(head),
            outputs=YolactMaps,
            points=self.anchor_generator,
            loss=_refuse,
            select_train=None,
            select_test=YolactSelection(
                settings=select.settings,
                nms=select.nms,
                maskiou_net=select.maskiou_net,
                read=CoefficientReader(head.mask_pred, head.num_prototypes),
            ),
        )


def _refuse(*_arguments: object) -> dict[str, Tensor]:
    raise ValueError("this copy of the model is for evaluation: it has no losses")


def build_yolact(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec, levels: Sequence[Level] | None
) -> DenseStage[YolactOutputs]:
    """The stage that MODEL.DENSE.SETTINGS describes, for features of ``in_channels`` channels.

    Raises:
        ConfigError: another number of anchor sizes than of maps.
    """
    settings: YolactSettings = spec.settings
    num_levels = len(settings.anchor_sizes)
    if levels is not None and len(levels) != num_levels:
        raise ConfigError(
            f"MODEL.DENSE.SETTINGS.ANCHOR_SIZES: expected {len(levels)}, one for each map of the "
            f"backbone, got {num_levels}"
        )
    num_foreground = spec.num_classes - 1
    head = YolactHead(
        in_channels=in_channels,
        num_anchors=settings.num_anchors,
        num_foreground=num_foreground,
        num_prototypes=settings.num_prototypes,
    )
    maskiou_net = MaskIoUNet(num_foreground=num_foreground) if settings.maskiou_on else None
    matcher = YolactMatcher(
        positive_iou=settings.positive_iou,
        negative_iou=settings.negative_iou,
        crowd_share=settings.crowd_share,
    )
    limits = NmsSettings(
        score_threshold=settings.score_threshold,
        iou_threshold=settings.nms_threshold,
        top_n=settings.nms_top_n,
        limit=cfg.TEST.DETECTIONS_PER_IMG,
    )
    return YolactStage(
        head=head,
        outputs=YolactOutputs,
        points=YolactAnchors(settings),
        loss=YolactLoss(
            settings=settings,
            matcher=matcher,
            semantic=head.semantic,
            maskiou_net=maskiou_net,
        ),
        select_train=None,
        select_test=YolactSelection(
            settings=limits, nms=NMS[settings.nms], maskiou_net=maskiou_net
        ),
    )


YOLACT = Family(build_yolact, gives_masks=True, learns_crowds=True, settings=YolactSettings)
