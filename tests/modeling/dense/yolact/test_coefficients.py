"""Coefficients read at some anchors are those of the whole maps."""

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.dense.yolact.coefficients import (
    CoefficientReader,
    MapsHead,
    read_computed,
    read_windows,
)
from maskrcnn_benchmark.modeling.dense.yolact.head import YolactHead
from maskrcnn_benchmark.structures.image_list import ImageList


@pytest.fixture
def head():
    torch.manual_seed(0)
    return YolactHead(in_channels=8, num_anchors=3, num_foreground=2, num_prototypes=5).eval()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_anchor_of_every_image(head, layout):
    maps = [
        torch.randn(2, 8, height, width).to(memory_format=layout)
        for height, width in ((5, 4), (2, 1), (1, 1))
    ]
    anchors = torch.randperm((20 + 2 + 1) * 3)
    reader = CoefficientReader(head.mask_pred, 5)
    with torch.no_grad():
        whole, few = head(maps), MapsHead(head)(maps)
        for image in range(2):
            expected, found = read_computed(whole, image, anchors), reader(few, image, anchors)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
            assert reader(few, image, anchors[:0]).shape == (0, 5)
    assert all(map(torch.equal, whole.logits, few.logits))


def test_windows_by_hand():
    level = torch.arange(1.0, 7).view(1, 2, 3)
    first, last, other = read_windows([level, torch.full((1, 1, 1), 9.0)], torch.tensor([0, 4, 6]))
    assert first.flatten().tolist() == [0, 0, 0, 0, 1, 2, 0, 4, 5]
    assert last.flatten().tolist() == [1, 2, 3, 4, 5, 6, 0, 0, 0]
    assert other.flatten().tolist() == [0] * 4 + [9] + [0] * 4


def test_the_copy_for_evaluation_finds_the_same():
    cfg = get_default_config()
    cfg.merge_from_list(
        [
            *("MODEL.DENSE.FAMILY", "yolact", "MODEL.NUM_CLASSES", 4),
            *("MODEL.DENSE.SETTINGS.SCORE_THRESHOLD", 0.0, "TEST.DETECTIONS_PER_IMG", 7),
        ]
    )
    stage = build_rpn(cfg, in_channels=16).eval()
    maps = [torch.randn(2, 16, side, side) for side in (16, 8, 4, 2, 1)]
    images = ImageList(torch.zeros(2, 3, 128, 128), [(128, 128)] * 2)
    with torch.no_grad():
        for ours, plain in zip(
            stage.folded()(images, maps).boxes, stage(images, maps).boxes, strict=True
        ):
            assert torch.equal(ours.bbox, plain.bbox)
            assert len(ours) == 7
            found, expected = ours.predicted_masks, plain.predicted_masks
            torch.testing.assert_close(found.coefficients, expected.coefficients)
