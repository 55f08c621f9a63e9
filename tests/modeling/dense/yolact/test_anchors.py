import pytest
import torch

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.modeling.dense.yolact.anchors import (
    YolactAnchors,
    anchor_corners,
    decode_boxes,
    encode_boxes,
)
from maskrcnn_benchmark.modeling.dense.yolact.settings import YolactSettings


def test_centres_and_sizes_by_hand():
    settings = YolactSettings(
        anchor_frame=100,
        anchor_sizes=(10, 40),
        anchor_scales=(1.0, 2.0),
        anchor_ratios=(1.0, 4.0),
        square_anchors=False,
    )
    fine, coarse = YolactAnchors(settings)([torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 1, 1)])
    # Sizes, then ratios of width to height.
    expected = [[0.1, 0.1], [0.2, 0.05], [0.2, 0.2], [0.4, 0.1]]
    torch.testing.assert_close(fine[:4, 2:], torch.tensor(expected))
    torch.testing.assert_close(coarse[:, 2:], 4 * torch.tensor(expected))
    assert fine[4::4, :2].tolist()[:4] == [
        [0.375, 0.25],
        [0.625, 0.25],
        [0.875, 0.25],
        [0.125, 0.75],
    ]
    assert coarse[0, :2].tolist() == [0.5, 0.5]


def test_square_anchors_use_the_ratio_for_the_size_alone():
    """upstream: square-anchors"""
    settings = YolactSettings(anchor_frame=10, anchor_sizes=(1,), anchor_ratios=(1.0, 0.25, 4.0))
    (anchors,) = YolactAnchors(settings)([torch.zeros(1, 1, 1, 1)])
    expected = torch.tensor([[0.1, 0.1], [0.05, 0.05], [0.2, 0.2]])
    torch.testing.assert_close(anchors[:, 2:], expected)


def test_codes_by_hand_and_back():
    anchors = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    codes = torch.tensor([[1.0, -2.0, 0.0, 5 * 0.6931472]])
    boxes = decode_boxes(codes, anchors)
    # Centre 0.5 + 0.1 * 0.2, 0.5 - 0.2 * 0.4; size 0.2 and, doubled, 0.8.
    torch.testing.assert_close(boxes, torch.tensor([[0.42, 0.02, 0.62, 0.82]]))
    torch.testing.assert_close(encode_boxes(boxes, anchors), codes, rtol=1e-5, atol=1e-5)
    assert decode_boxes(codes[:0], anchors[:0]).shape == (0, 4)
    assert decode_boxes(torch.full((1, 4), 1e4), anchors).isfinite().all()


def test_corners():
    assert anchor_corners(torch.tensor([[1.0, 2, 4, 6]])).tolist() == [[-1, -1, 3, 5]]


@pytest.mark.parametrize(
    "options",
    [{"anchor_sizes": ()}, {"nms": "slow"}, {"negative_iou": 0.6}, {"masks_to_train": 0}],
)
def test_settings_that_make_no_sense(options):
    with pytest.raises(ConfigError, match=next(iter(options)).upper()):
        YolactSettings(**options)


def test_no_cells():
    (anchors,) = YolactAnchors(YolactSettings(anchor_sizes=(8,)))([torch.zeros(1, 1, 0, 3)])
    assert anchors.shape == (0, 4)
