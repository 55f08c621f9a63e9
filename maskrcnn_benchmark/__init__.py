"""CenterMask: anchor-free instance segmentation on the maskrcnn-benchmark architecture."""

__version__ = "0.1.0"
