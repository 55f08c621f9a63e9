import torch

from maskrcnn_benchmark.modeling.dense.selection import SelectionSettings
from maskrcnn_benchmark.modeling.dense.shapemask.inference import best_of_classes, choose

SETTINGS = SelectionSettings(0.05, 2, 0.5, 10)


def test_only_the_best_anchors_of_a_class_are_looked_at():
    probs = torch.tensor([[0.9, 0.2, 0.9, 0.3, 0.01], [0.2, 0, 0, 0, 0.6]])
    classes, inds = best_of_classes(probs, SETTINGS)
    assert (classes.tolist(), inds.tolist()) == ([0, 0, 1, 1], [0, 2, 0, 4])


def test_boxes_of_less_than_a_pixel_suppress_each_other():
    """upstream: ordered-corners"""
    boxes = torch.tensor([[10.0, 10, 9.5, 40], [10.0, 10, 9.5, 40.2]])
    found = choose(torch.tensor([[0.8, 0.9]]), boxes.__getitem__, SETTINGS)
    assert found.boxes.tolist() == boxes[1:].tolist()
