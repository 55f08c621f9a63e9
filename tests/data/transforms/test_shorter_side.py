import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskrcnn_benchmark.data.transforms import ResizeFloats, resized_floor_hw
from maskrcnn_benchmark.structures.bounding_box import BoxList


def test_pixels_are_mixed_from_their_neighbours_and_not_rounded():
    row = np.array([[[0.0] * 3, [1] * 3]], dtype=np.float32)
    larger, target = ResizeFloats((2,), 100)(row)
    assert target is None
    assert larger.shape == (2, 4, 3)
    assert larger[0, :, 0].tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize("min_size", [24, 75])
def test_pixels_are_those_of_torch_without_antialiasing(min_size):
    image = 255 * np.random.default_rng(0).random((53, 37, 3), dtype=np.float32)
    resized, _ = ResizeFloats((min_size,), 1000)(image)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = F.interpolate(planes, size=resized.shape[:2], mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        torch.from_numpy(resized), expected[0].permute(1, 2, 0), rtol=0, atol=0
    )


def test_boxes_without_an_offset_are_scaled():
    target = BoxList([[1, 2, 10, 16]], (30, 20), pixel_offset=0)
    _, resized = ResizeFloats((40,), 100)(np.zeros((20, 30, 3), dtype=np.float32), target)
    assert resized.size == (60, 40)
    assert resized.bbox.tolist() == [[2, 4, 20, 32]]


def test_sizes_are_drawn_from_the_generator():
    image = np.zeros((20, 20, 3), dtype=np.float32)
    rng = random.Random(0)
    drawn = {len(ResizeFloats((10, 30), 100)(image, None, rng)[0]) for _ in range(20)}
    assert drawn == {10, 30}


@pytest.mark.parametrize("arguments", [((), 10), ((0,), 10), ((5,), 0)])
def test_sizes_below_one_pixel_are_refused(arguments):
    with pytest.raises(ValueError, match=r"min_sizes and max_size must be at least 1 px"):
        ResizeFloats(*arguments)


@pytest.mark.parametrize(
    ("size_wh", "hw"),
    [((640, 480), (800, 1066)), ((640, 427), (800, 1199)), ((1000, 300), (399, 1333))],
)
def test_both_sides_are_cut_to_whole_pixels(size_wh, hw):
    assert resized_floor_hw(size_wh, 800, 1333) == hw
