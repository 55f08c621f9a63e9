"""Boxes, masks, keypoints and image batches: the data that flows through the program."""
