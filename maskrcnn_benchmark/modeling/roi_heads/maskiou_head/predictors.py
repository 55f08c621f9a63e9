"""The last layer of the mask-IoU head."""

from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.modeling.make_layers import init_normal
from maskrcnn_benchmark.modeling.registry import ROI_MASKIOU_PREDICTOR

_INIT_STD = 0.01


class MaskIoUPredictor(nn.Module):
    """A linear layer to one IoU a class.

    Args:
        in_features: features of a roi.
        num_classes: classes with background.
    """

    def __init__(self, *, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.maskiou = nn.Linear(in_features, num_classes)
        init_normal(self.maskiou, _INIT_STD)

    def forward(self, features: Tensor) -> Tensor:
        """Predicted IoU (R, num_classes), unbounded, of features (R, in_features)."""
        iou: Tensor = self.maskiou(features)
        return iou


@ROI_MASKIOU_PREDICTOR.register("MaskIoUPredictor")
def build_maskiou_predictor(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None
) -> MaskIoUPredictor:
    """The predictor with one output a class."""
    num_classes = (spec or ArchitectureSpec.from_config(cfg)).num_classes
    return MaskIoUPredictor(in_features=in_channels, num_classes=num_classes)
