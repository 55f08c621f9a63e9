"""RetinaNet: dense detection with anchors and focal loss (Lin et al., arXiv 1708.02002)."""
