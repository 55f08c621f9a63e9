"""The last layers of the keypoint head.

Shapes: R rois, D input channels, M side of the features, P points, S = 4 M side of the heat maps.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.layers import ConvTranspose2d, at_least_float32
from maskrcnn_benchmark.modeling.make_layers import init_kaiming_normal
from maskrcnn_benchmark.modeling.registry import ROI_KEYPOINT_PREDICTOR

_UP_SCALE = 2


class KeypointRCNNPredictor(nn.Module):
    """A 4x4 stride-2 transposed convolution to one map a point, then bilinear x 2.

    Source: Mask R-CNN (arXiv 1703.06870), section 5.

    Args:
        in_channels: D.
        num_keypoints: P.
    """

    def __init__(self, *, in_channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.kps_score_lowres = ConvTranspose2d(in_channels, num_keypoints, 4, stride=2, padding=1)
        init_kaiming_normal(self.kps_score_lowres)
        self.out_channels = num_keypoints

    def forward(self, features: Tensor) -> Tensor:
        """Heat-map logits (R, P, S, S), never in half precision, of features (R, D, M, M)."""
        # Interpolation in half precision would blur the maxima.
        logits = at_least_float32(self.kps_score_lowres(features))
        side = _UP_SCALE * logits.shape[-1]
        if len(logits) == 0:  # interpolate refuses an empty batch
            return logits.repeat(1, 1, _UP_SCALE, _UP_SCALE)
        return F.interpolate(logits, size=(side, side), mode="bilinear", align_corners=False)


@ROI_KEYPOINT_PREDICTOR.register("KeypointRCNNPredictor")
def build_keypoint_rcnn_predictor(cfg: CfgNode, in_channels: int) -> KeypointRCNNPredictor:
    """The predictor of MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES points."""
    return KeypointRCNNPredictor(
        in_channels=in_channels, num_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES
    )
