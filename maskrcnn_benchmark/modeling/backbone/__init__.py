"""Backbones: bodies and feature pyramids."""

from maskrcnn_benchmark.modeling.backbone.backbone import Backbone, build_backbone

__all__ = ["Backbone", "build_backbone"]
