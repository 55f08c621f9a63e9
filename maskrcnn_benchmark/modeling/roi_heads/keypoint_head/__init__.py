"""The keypoint head of Mask R-CNN: one heat map a point."""
