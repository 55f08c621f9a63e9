"""ShapeMask: a RetinaNet whose detections get masks made of shape priors.

Source: Kuo, Angelova, Malik and Lin, arXiv 1904.03239, and the behaviour of the authors' program.

Boxes are xyxy px of the square canvas that photos are put in, corners are edges; codes are in the
program's order, dy, dx, dh, dw.
"""
