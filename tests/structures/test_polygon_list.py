import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.layers.coco_raster import rasterize, rasterized_areas
from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
)
from maskrcnn_benchmark.structures.polygon_list import PolygonList
from tests.factories import rectangle
from tests.golden_data import golden_json, golden_npz

TRIANGLE = [1.0, 1.0, 7.0, 1.0, 1.0, 5.0]


def two_instances(size=(12, 10)):
    return PolygonList([[rectangle(2, 3, 5, 9)], [rectangle(0, 0, 2, 2), TRIANGLE]], size)


def pixels(mask):
    return mask.nonzero().tolist()


def test_rectangles_cover_whole_pixels():
    masks = PolygonList([[rectangle(2, 3, 5, 9)]], (12, 10)).to_bitmasks()
    expected = torch.zeros(1, 10, 12, dtype=torch.bool)
    expected[:, 3:9, 2:5] = True
    assert masks.dtype == torch.bool
    assert_close(masks, expected)


def test_polygons_of_an_instance_are_one_mask():
    polygons = PolygonList([[rectangle(0, 0, 2, 2), rectangle(1, 1, 3, 3)], []], (4, 4))
    masks = polygons.to_bitmasks()
    assert masks[0].tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [False, True, True, False],
        [False, False, False, False],
    ]
    assert not masks[1].any()
    assert rasterized_areas(polygons.polygons, (4, 4)) == [7, 0]


def test_parts_outside_are_cut_off():
    masks = PolygonList([[rectangle(-5, 2, 2, 50)], [rectangle(8, 8, 9, 9)]], (4, 4)).to_bitmasks()
    assert pixels(masks[0]) == [[2, 0], [2, 1], [3, 0], [3, 1]]
    assert not masks[1].any()


def test_points_are_float32_pairs():
    (points,) = PolygonList([[TRIANGLE]], (9, 9)).polygons[0]
    assert points.dtype == np.float32
    assert points.tolist() == [[1, 1], [7, 1], [1, 5]]


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([0, 0, 1, 1], r"\b6\b.*\b4\b"),
        ([0, 0, 1, 1, 2, 2, 3], "not 7"),
        ([], "not 0"),
        (3.0, "not 1"),
        ([0, 0, 1, 1, 2, float("nan")], "finite"),
    ],
)
def test_malformed_polygons_are_refused(polygon, message):
    with pytest.raises(ValueError, match=message):
        PolygonList([[polygon]], (9, 9))


def test_double_precision_stays_what_it_is():
    polygons = PolygonList([[rectangle(0.1, 0.2, 3.3, 4.4)]], (10, 10), np.float64)
    changed = polygons.resize((25, 30))[[0]].crop([1, 1, 20, 20]).transpose(FLIP_LEFT_RIGHT)
    ((points,),) = changed.polygons
    assert points.dtype == np.float64
    assert points[0].tolist() == pytest.approx([19 - (0.25 - 1), 0.6 - 1], abs=1e-12)


def test_resize_scales_each_axis():
    resized = two_instances().resize((24, 5))
    assert resized.size == (24, 5)
    assert resized.polygons[0][0].tolist() == [[4, 1.5], [10, 1.5], [10, 4.5], [4, 4.5]]


def test_crop_moves_and_does_not_clip():
    # UPSTREAM(crop-without-clipping): points outside of the new size stay.
    cropped = two_instances().crop((3, 4, 3.5, 8))
    assert cropped.size == (1, 4)
    assert cropped.polygons[0][0].tolist() == [[-1, -1], [2, -1], [2, 5], [-1, 5]]


@pytest.mark.parametrize(("method", "dimension"), [(FLIP_LEFT_RIGHT, 2), (FLIP_TOP_BOTTOM, 1)])
def test_flips_agree_with_flipped_bitmaps(method, dimension):
    """upstream: polygon-flip."""
    polygons = PolygonList([[rectangle(2, 3, 5, 9)], [rectangle(0, 1, 7, 2)]], (12, 10))
    flipped = polygons.transpose(method)
    assert_close(flipped.to_bitmasks(), polygons.to_bitmasks().flip(dimension))
    assert flipped.size == (12, 10)
    for before, after in zip(polygons.polygons, flipped.transpose(method).polygons, strict=True):
        np.testing.assert_array_equal(before[0], after[0])


def test_the_diagonal_flip_agrees_with_transposed_bitmaps():
    polygons = PolygonList([[rectangle(2, 3, 5, 9)], [rectangle(0, 1, 7, 2)]], (12, 10))
    flipped = polygons.transpose(FLIP_DIAGONAL)
    assert flipped.size == (10, 12)
    assert_close(flipped.to_bitmasks(), polygons.to_bitmasks().transpose(1, 2))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (0, [1]),
        (-1, [2]),
        (slice(None, None, -1), [2, 1]),
        (torch.tensor([1, 1, 0]), [2, 2, 1]),
        (torch.tensor([False, True]), [2]),
        ([], []),
    ],
)
def test_indexing(item, expected):
    selected = two_instances()[item]
    assert [len(polygons) for polygons in selected.polygons] == expected
    assert selected.size == (12, 10)


def test_no_instances():
    empty = PolygonList([], (5, 4))
    for changed in (empty, empty.resize((2, 2)), empty.crop((0, 0, 2, 2)), empty.transpose(0)):
        assert len(changed) == 0
    assert empty.to_bitmasks().shape == (0, 4, 5)
    assert rasterize([], (4, 5)).shape == (0, 4, 5)
    assert rasterized_areas([], (4, 5)) == []
    assert repr(empty) == "PolygonList(num_instances=0, size=(5, 4))"


@pytest.mark.golden
def test_rasterised_masks_of_the_original():
    golden = golden_npz("ops")
    width, height = golden["masktarget_image_wh"].tolist()
    masks = PolygonList(golden_json("ops")["masktarget_polygons"], (width, height)).to_bitmasks()
    expected = np.unpackbits(golden["masktarget_full"])[: masks.numel()].reshape(masks.shape)
    np.testing.assert_array_equal(masks.numpy(), expected.astype(bool))
