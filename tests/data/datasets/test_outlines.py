"""Which outlines are usable."""

import math

import pytest

from maskrcnn_benchmark.data.datasets.outlines import (
    are_coordinates,
    checked_outline,
    outline_area,
)

TRIANGLE = [0, 0, 4, 0, 0, 4]


def test_good_polygons_stay():
    polygons = [TRIANGLE, [1.5, 1, 3, 1, 3, 3, 1, 3]]
    assert checked_outline(polygons, 8, 8) == polygons


def test_polygons_that_are_none_are_left_out():
    odd, line, nothing = [0, 0, 4, 0, 0, 4, 1], [0, 0, 4, 4], []
    assert checked_outline([odd, TRIANGLE, line, nothing, "x"], 8, 8) == [TRIANGLE]


@pytest.mark.parametrize(
    "nested",
    [
        TRIANGLE,
        [[0, 0], [4, 0], [0, 4]],
        [[[0, 0], [4, 0], [0, 4]]],
    ],
)
def test_a_polygon_nested_otherwise_is_the_same_polygon(nested):
    """Frequent mistakes of converters: in no list, or with points in pairs."""
    assert checked_outline(nested, 8, 8) == [TRIANGLE]


@pytest.mark.parametrize(
    "outline", [[], [[]], [[0, 0, 4, 4]], [[1, 2, 3, 4, 5]], [7, 8, 9, 1], [[1, 2], [3, 4]]]
)
def test_no_polygon_left(outline):
    with pytest.raises(ValueError, match="three points"):
        checked_outline(outline, 8, 8)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "3", None, 1e6, 10**400])
def test_impossible_coordinates(bad):
    with pytest.raises(ValueError, match=r"coordinate.*100000"):
        checked_outline([TRIANGLE, [0, 0, 4, 0, 0, bad]], 8, 8)


@pytest.mark.parametrize("outline", ["polygon", 5, None])
def test_other_things_are_no_outline(outline):
    with pytest.raises(ValueError, match="list or an object"):
        checked_outline(outline, 8, 8)


def test_rle_is_compressed():
    assert checked_outline({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3) == {
        "size": [2, 3],
        "counts": "123",
    }


def test_areas():
    assert outline_area({"size": [2, 3], "counts": "123"}, 2, 3) == 2.0
    square = [2, 1, 6, 1, 6, 5, 2, 5]
    assert outline_area([square], 8, 10) == 16.0
    assert outline_area([square, square], 8, 10) == 16.0  # together, not added


def test_coordinates():
    assert are_coordinates([0, -1.5, 1e5])
    assert not are_coordinates([])
    assert not are_coordinates([0, math.nan])
    assert not are_coordinates([0, 1e5 + 1])
