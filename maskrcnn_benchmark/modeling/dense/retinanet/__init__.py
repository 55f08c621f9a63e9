"""RetinaNet: dense detection with anchors and focal loss (Lin et al., arXiv 1708.02002)."""

from maskrcnn_benchmark.modeling.dense.retinanet.retinanet import build_retinanet

__all__ = ["build_retinanet"]
