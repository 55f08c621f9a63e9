"""FCOS: fully convolutional one-stage detection (Tian et al., arXiv 1904.01355)."""
