"""TensorMask: dense windows, each with a mask (Chen et al., arXiv 1903.12174).

Boxes here are half-open: a box from x1 to x2 is x2 - x1 px wide.
"""
