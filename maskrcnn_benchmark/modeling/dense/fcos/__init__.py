"""FCOS: fully convolutional one-stage detection (Tian et al., arXiv 1904.01355)."""

from maskrcnn_benchmark.modeling.dense.fcos.fcos import build_fcos

__all__ = ["build_fcos"]
