"""YOLACT and YOLACT++: boxes with mixtures of prototype masks.

Source: Bolya et al., arXiv 1904.02689 and 1912.06218.

Boxes and anchors are parts of the image here: 0 to 1 from its left and upper edge to the right and
lower one, without an inclusive pixel.
"""
