import pytest
import torch

from maskrcnn_benchmark.structures.indexing import as_index


@pytest.mark.parametrize(("item", "expected"), [(0, [0]), (2, [2]), (-3, [0])])
def test_an_int_keeps_the_dimension(item, expected):
    assert list(range(3))[as_index(item, 3)] == expected


@pytest.mark.parametrize("item", [3, -4])
def test_an_int_outside_is_refused(item):
    with pytest.raises(IndexError, match=f"{item} is out of range for 3"):
        as_index(item, 3)


def test_an_empty_list_is_an_index():
    assert as_index([], 3).dtype == torch.int64
    assert as_index(torch.zeros(0), 0).dtype == torch.int64


@pytest.mark.parametrize(
    ("item", "message"),
    [([True, False], r"mask of shape \(2,\)"), (torch.zeros(2, 1).long(), "one dimension")],
)
def test_other_shapes_are_refused(item, message):
    with pytest.raises(IndexError, match=message):
        as_index(item, 3)
