import pytest
import torch

from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.outputs import (
    background_first,
    shapes_first,
    weighted_offsets,
    with_unused_boxes,
    with_unused_class,
)


def test_anchors_shape_by_shape():
    """Nine anchors of two outputs: number 10 * scale + shape."""
    numbers = torch.tensor([[10 * scale + shape] * 2 for scale in range(3) for shape in range(3)])
    ours = shapes_first("layer", numbers.flatten())
    assert ours[::2].tolist() == [0, 10, 20, 1, 11, 21, 2, 12, 22]
    assert torch.equal(ours[::2], ours[1::2])
    with pytest.raises(CheckpointError, match=r"layer.*multiple of 9.*got 8"):
        shapes_first("layer", torch.zeros(8))


def test_offsets_get_weights():
    assert weighted_offsets(torch.ones(8, 2))[:, 0].tolist() == [10, 10, 5, 5] * 2


def test_the_background_goes_to_the_front():
    assert background_first(torch.tensor([1, 2, 0])).tolist() == [0, 1, 2]
    assert with_unused_class(torch.tensor([1, 2])).tolist() == [0, 1, 2]
    assert with_unused_boxes(torch.ones(8, 3)).sum(dim=1).tolist() == [0] * 4 + [3] * 8
