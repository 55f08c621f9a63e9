"""FCOS: fully convolutional one-stage detection (Tian et al., arXiv 1904.01355)."""

from maskrcnn_benchmark.modeling.dense.fcos.fcos import FCOSModule, build_fcos

__all__ = ["FCOSModule", "build_fcos"]
