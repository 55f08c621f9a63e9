import pytest
import torch

from maskrcnn_benchmark.modeling.dense.shapemask.anchors import (
    ShapeMaskAnchors,
    clip_boxes,
    decode_boxes,
    encode_boxes,
)
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings


def test_anchors_lie_around_the_middle_of_cells():
    settings = ShapeMaskSettings(anchor_octaves=1, anchor_ratios=(1.0, 4.0))
    maps = [torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 0)]
    first, nothing = ShapeMaskAnchors(strides=(8, 16), settings=settings)(maps)
    assert first.tolist() == [
        [-12, -12, 20, 20],
        [-28, -4, 36, 12],
        [-4, -12, 28, 20],
        [-20, -4, 44, 12],
    ]
    assert nothing.shape == (0, 4)


def test_a_perfect_code_gives_the_box_back_but_for_a_pixel():
    """upstream: inclusive-decoding"""
    anchor, box = torch.tensor([[10.0, 20, 50, 40]]), torch.tensor([[20.0, 22, 80, 72]])
    codes = encode_boxes(box, anchor)
    assert codes[:, :2].tolist() == [pytest.approx([(47 - 30) / 20, (50 - 30) / 40])]
    assert codes[:, 2:].exp().tolist() == [pytest.approx([50 / 20, 60 / 40])]
    decoded = decode_boxes(codes, anchor, (1000, 1000))
    widths = decoded[0, 2:] - decoded[0, :2]
    # w + w / w_a - 1
    assert widths.tolist() == pytest.approx([60 + 1.5 - 1, 50 + 2.5 - 1], abs=1e-4)
    assert (decoded - box).abs().max() < 2


def test_decoded_boxes_are_clipped_to_the_canvas_and_growth_is_bounded():
    anchors = torch.tensor([[0.0, 0, 15, 15]])
    found = decode_boxes(torch.tensor([[0.0, 0, 1e9, 0]]), anchors, (2000, 64))
    assert found.tolist() == [[0, 0, 15, pytest.approx(8 + 500 - 1)]]
    assert clip_boxes(torch.tensor([[-5.0, 70, 99, 99]]), (64, 32)).tolist() == [[0, 63, 31, 63]]
