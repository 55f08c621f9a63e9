"""ShapeMask: the stage that finds boxes, and the head that gives them masks."""

from collections.abc import Sequence

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.families import Family
from maskrcnn_benchmark.modeling.dense.selection import SelectionSettings
from maskrcnn_benchmark.modeling.dense.shapemask.anchors import ShapeMaskAnchors
from maskrcnn_benchmark.modeling.dense.shapemask.head import ShapeMaskHead, ShapeMaskOutputs
from maskrcnn_benchmark.modeling.dense.shapemask.inference import ShapeMaskSelection
from maskrcnn_benchmark.modeling.dense.shapemask.loss import ShapeMaskLoss
from maskrcnn_benchmark.modeling.dense.shapemask.mask_head import build_shapemask_roi_head
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.modeling.dense.stage import DenseStage
from maskrcnn_benchmark.modeling.make_layers import BatchNormSettings
from maskrcnn_benchmark.modeling.strides import Level


def build_shapemask(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec, levels: Sequence[Level] | None
) -> DenseStage[ShapeMaskOutputs]:
    """The stage that MODEL.DENSE.SETTINGS describes, for features of ``in_channels`` channels.

    Raises:
        ConfigError: a backbone that does not say its strides.
    """
    if levels is None:
        raise ConfigError(
            "MODEL.BACKBONE.CONV_BODY: ShapeMask needs a backbone that says its strides, by an "
            f"attribute `levels`; {cfg.MODEL.BACKBONE.CONV_BODY!r} has none"
        )
    settings: ShapeMaskSettings = spec.settings
    strides = [level.stride for level in levels]
    selection = SelectionSettings(
        settings.score_threshold,
        settings.pre_nms_top_n,
        settings.nms_threshold,
        cfg.TEST.DETECTIONS_PER_IMG,
    )
    return DenseStage(
        head=ShapeMaskHead(
            in_channels=in_channels,
            num_anchors=settings.num_anchors,
            num_classes=spec.num_classes,
            num_levels=len(strides),
            norm=BatchNormSettings.from_config(cfg),
        ),
        outputs=ShapeMaskOutputs,
        points=ShapeMaskAnchors(strides=strides, settings=settings),
        loss=ShapeMaskLoss(settings=settings, num_classes=spec.num_classes),
        select_train=None,
        select_test=ShapeMaskSelection(
            settings=selection, num_classes=spec.num_classes, stride=strides[0]
        ),
    )


SHAPEMASK = Family(
    build_shapemask,
    settings=ShapeMaskSettings,
    ignores_background=True,
    pixel_offset=0,
    heads={"mask": build_shapemask_roi_head},
)
