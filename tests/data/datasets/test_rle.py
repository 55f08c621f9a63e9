"""COCO's run-length encoding against pycocotools and by hand."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.data.datasets.rle import checked_rle, compressed_rle


def runs_of(mask):
    """Uncompressed counts of a mask, the slow and plain way."""
    runs, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def test_runs_by_hand():
    # Columns first: column 0 is 0 1, column 1 is 1 0, column 2 is 0 0.
    mask = np.array([[0, 1, 0], [1, 0, 0]], dtype=np.uint8)
    assert runs_of(mask) == [1, 2, 3]
    rle = checked_rle({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3)
    assert rle["counts"] == "123"
    np.testing.assert_array_equal(coco_mask.decode(rle), mask)


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_pycocotools(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 120, 2).tolist()
    mask = (rng.random((height, width)) < rng.random() ** 3).astype(np.uint8)
    encoded = coco_mask.encode(np.asfortranarray(mask))
    expected = {"size": [height, width], "counts": encoded["counts"].decode()}
    for counts in (runs_of(mask), encoded["counts"], expected["counts"]):
        assert checked_rle({"size": [height, width], "counts": counts}, height, width) == expected


def test_long_runs():
    mask = np.zeros((3000, 3000), dtype=np.uint8)
    mask[0, 0] = mask[-1, -1] = 1
    encoded = coco_mask.encode(np.asfortranarray(mask))
    checked = checked_rle(encoded, 3000, 3000)
    assert checked["counts"] == encoded["counts"].decode()


def test_empty_and_full_masks():
    assert coco_mask.area(checked_rle({"size": [2, 2], "counts": [4]}, 2, 2)) == 0
    assert coco_mask.area(checked_rle({"size": [2, 2], "counts": [0, 4]}, 2, 2)) == 4


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [3, 2], "counts": [6]}, r"RLE of size \[3, 2\]"),
        ({"counts": [6]}, "RLE of size None"),
        ({"size": [2, 3]}, "must be a list or a string, not NoneType"),
        ({"size": [2, 3], "counts": [5]}, "5.*6"),
        ({"size": [2, 3], "counts": [7, -1]}, "negative"),
        ({"size": [2, 3], "counts": [3.0, 3.0]}, "whole"),
        ({"size": [2, 3], "counts": [3, "3"]}, "whole"),
        ({"size": [2, 3], "counts": []}, "0.*6"),
        ({"size": [2, 3], "counts": ""}, "0.*6"),
        ({"size": [2, 3], "counts": "1"}, "1.*6"),
        ({"size": [2, 3], "counts": "6\x1f"}, "damaged"),
        ({"size": [2, 3], "counts": "12\u00e9"}, "damaged|ascii"),
        ({"size": [2, 3], "counts": "123o"}, "damaged"),  # says that more follows
        ({"size": [2, 3], "counts": "oooooooo0"}, "damaged"),
        ({"size": [2, 3], "counts": "O7"}, "negative"),
    ],
)
def test_damaged_counts_never_reach_c_code(rle, message):
    with pytest.raises(ValueError, match=message):
        checked_rle(rle, 2, 3)


def test_polygons_together_are_one_mask():
    left, right = [0, 0, 1, 0, 1, 2, 0, 2], [2, 0, 4, 0, 4, 2, 2, 2]
    rle = compressed_rle([left, right], 2, 4)
    np.testing.assert_array_equal(coco_mask.decode(rle), [[1, 0, 1, 1], [1, 0, 1, 1]])
