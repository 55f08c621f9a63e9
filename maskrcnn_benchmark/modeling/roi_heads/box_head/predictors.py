"""The last layers of the box head.

Shapes: R rois, D input channels, C classes with background, B sets of box offsets: C, or 2 where
all foreground classes share one.
"""

from typing import NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.modeling.make_layers import init_normal
from maskrcnn_benchmark.modeling.registry import ROI_BOX_PREDICTOR

_CLASS_INIT_STD = 0.01
_BOX_INIT_STD = 0.001
_SETS_IF_CLASS_AGNOSTIC = 2  # background's, which nothing uses, and that of all other classes


class BoxPrediction(NamedTuple):
    """Raw outputs of the box head.

    Attributes:
        class_logits: (R, C).
        box_regression: (R, 4 * B) offsets as ``BoxCoder`` has them, one set of four a class.
    """

    class_logits: Tensor
    box_regression: Tensor


class BoxPredictor(nn.Module):
    """Two linear layers side by side, on vectors or on maps, which are averaged first.

    Source: Fast R-CNN (Girshick 2015), section 2.

    Args:
        in_channels: D.
        num_classes: C.
        num_box_sets: B.
    """

    def __init__(self, *, in_channels: int, num_classes: int, num_box_sets: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, 4 * num_box_sets)
        init_normal(self.cls_score, _CLASS_INIT_STD)
        init_normal(self.bbox_pred, _BOX_INIT_STD)

    def forward(self, features: Tensor) -> BoxPrediction:
        """Logits and offsets of features (R, D) or (R, D, M, M)."""
        if features.ndim == 4:
            features = features.mean(dim=(2, 3))
        return BoxPrediction(self.cls_score(features), self.bbox_pred(features))


@ROI_BOX_PREDICTOR.register("FastRCNNPredictor")
@ROI_BOX_PREDICTOR.register("FPNPredictor")
def build_box_predictor(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None
) -> BoxPredictor:
    """The predictor of C4 models, which get maps, and of pyramid models, which get vectors."""
    num_classes = (spec or ArchitectureSpec.from_config(cfg)).num_classes
    return BoxPredictor(
        in_channels=in_channels,
        num_classes=num_classes,
        num_box_sets=_SETS_IF_CLASS_AGNOSTIC if cfg.MODEL.CLS_AGNOSTIC_BBOX_REG else num_classes,
    )
