import torch

from maskrcnn_benchmark.modeling.dense.yolact.detections import WholePixelBoxes
from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, BoxList


def make(boxes, size=(10, 10)):
    found = WholePixelBoxes.of(torch.tensor(boxes), size)
    found.add_field("scores", torch.arange(len(found)) / 10)
    return found


def test_edges_are_rounded_down_once():
    """upstream: truncated-boxes"""
    found = make([[0.11, 0.2, 0.595, 0.87]]).resize((100, 50))
    assert type(found) is BoxList
    # Edges 11, 10, 59.5 and 43.5: the last pixel is one before the edge.
    assert found.bbox.tolist() == [[11, 10, 58, 42]]
    assert found.convert("xywh").bbox.tolist() == [[11, 10, 48, 33]]


def test_boxes_are_cut_off_ordered_and_dropped_without_area():
    boxes = [
        [-0.5, 0.5, 0.5, 1.5],
        [0.5, 0.9, 0.2, 0.1],
        [0.31, 0.1, 0.34, 0.9],
        [1.2, 0.1, 1.4, 0.9],
        [1.2, 1.2, 1.4, 1.5],
    ]
    found = make(boxes).resize((10, 10))
    # The third has no whole pixel, the fourth lies outside; the fifth has two negative sides.
    assert found.scores.mul(10).tolist() == [0, 1, 4]
    assert found.bbox[:2].tolist() == [[0, 5, 4, 9], [2, 1, 4, 8]]


def test_they_stay_what_they_are_when_indexed_or_moved():
    found = make([[0.11, 0.2, 0.59, 0.87], [0.2, 0.2, 0.4, 0.4]])
    for each in (found[1:], found.to("cpu")[[1]], found.copy_with_fields(["relative_boxes"])[1]):
        assert each.resize((100, 100)).bbox.tolist() == [[20, 20, 39, 39]]


def test_flips_and_cuts_are_of_whole_pixels():
    found = make([[0.11, 0.2, 0.59, 0.87]])
    assert found.transpose(FLIP_LEFT_RIGHT).bbox.tolist() == [[5, 2, 8, 7]]
    assert found.crop((0, 0, 4, 4)).bbox.tolist() == [[1, 2, 4, 4]]


def test_none():
    found = WholePixelBoxes.of(torch.zeros(0, 4), (10, 10)).resize((20, 20))
    assert len(found) == 0
