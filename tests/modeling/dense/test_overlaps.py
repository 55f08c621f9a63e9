import torch

from maskrcnn_benchmark.modeling.dense.overlaps import pairwise_intersection, pairwise_iou


def test_iou_has_no_inclusive_pixel():
    one, other = torch.tensor([[0.0, 0, 2, 1]]), torch.tensor([[1.0, 0, 3, 1], [5, 5, 6, 6]])
    torch.testing.assert_close(pairwise_iou(one, other), torch.tensor([[1 / 3, 0.0]]))
    assert pairwise_intersection(one, other).tolist() == [[1, 0]]


def test_boxes_without_area_and_no_boxes():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 5, 5]])
    found = pairwise_iou(boxes, torch.tensor([[0.0, 0, 10, 5], [5, 5, 5, 5]]))
    assert found.nan_to_num(-1).tolist() == [[0.5, 0], [0, -1]]
    assert pairwise_iou(boxes, torch.zeros(0, 4)).shape == (2, 0)


def test_several_images_at_once():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(3, 2, 4, generator=generator).cumsum(dim=-1)
    together = pairwise_iou(boxes, boxes)
    for own, expected in zip(together, boxes, strict=True):
        torch.testing.assert_close(own, pairwise_iou(expected, expected))
