"""Boxes, masks and image batches: the data that flows through the program."""
