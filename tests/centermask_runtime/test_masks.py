"""Pasting and run lengths in plain NumPy, against the package's operator and pycocotools."""

import math

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch

from centermask_runtime import masks as array_masks
from centermask_runtime.run_lengths import compressed, encode_part, encode_parts
from maskrcnn_benchmark.structures import paste_rules

SIZE_WH = (57, 43)


def draws(seed, count=60, side=28):
    """Masks, and boxes of every kind: outside, reversed, huge, tiny, at borders."""
    random = np.random.default_rng(seed)
    probabilities = random.random((count, side, side), dtype=np.float32)
    centers = random.uniform(-20, 80, (count, 2))
    scale = random.choice([0.2, 3.0, 20.0, 200.0], (count, 2))
    halves = scale * random.uniform(-0.1, 1, (count, 2))
    boxes = np.concatenate([centers - halves, centers + halves], axis=1).astype(np.float32)
    boxes[:4] = [[0, 0, 56, 42], [0, 0, 57, 43], [-3e38, 0, 3e38, 9], [5, 5, 5, 5]]
    return probabilities, boxes


@pytest.mark.parametrize(
    "own",
    [
        array_masks.InclusivePaste(),
        array_masks.InclusivePaste(0.3, 0),
    ],
)
@pytest.mark.parametrize("side", [1, 28])
def test_run_lengths_are_those_of_the_operator_character_by_character(own, side):
    probabilities, boxes = draws(3, side=side)
    as_tensors = torch.from_numpy(probabilities), torch.from_numpy(boxes)
    assert own.encode(probabilities, boxes, SIZE_WH) == paste_rules.PasteRule(own).encode(
        *as_tensors, SIZE_WH
    )
    none = own.encode(probabilities[:0], boxes[:0], SIZE_WH)
    assert none == []


def test_boxes_that_are_not_finite_are_refused():
    probabilities, boxes = draws(4, 4)
    boxes[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        array_masks.LEGACY_PASTE.encode(probabilities, boxes, SIZE_WH)


def of_pycocotools(image):
    return mask_utils.encode(np.asfortranarray(image.astype(np.uint8)))["counts"]


def random_image(random, shape):
    return random.random(shape) < random.choice([0.0, 0.02, 0.5, 1.0])


def test_texts_are_those_of_pycocotools():
    random = np.random.default_rng(5)
    for _ in range(50):
        shape = tuple(random.integers(1, 40, 2))
        image = random_image(random, shape)
        assert encode_part(0, 0, image.T, shape[::-1]) == of_pycocotools(image)
    counts = np.array([2**31, 5, 2**31 - 7, 1, 2**20], dtype=np.int64)
    expected = mask_utils.frPyObjects({"size": [1, int(counts.sum())], "counts": counts}, 1, 1)
    assert compressed(counts, np.array([len(counts)])) == [expected["counts"]]


def test_masks_of_an_image_are_encoded_together_as_one_by_one():
    random = np.random.default_rng(6)
    for _ in range(20):
        height, width = random.integers(1, 12, 2)
        parts, expected = [], []
        for _ in range(random.integers(0, 30)):
            y0, x0 = random.integers(0, height + 1), random.integers(0, width + 1)
            shape = random.integers(0, height - y0 + 1), random.integers(0, width - x0 + 1)
            part, image = random_image(random, shape), np.zeros((height, width), dtype=bool)
            image[y0 : y0 + shape[0], x0 : x0 + shape[1]] = part
            parts.append((x0, y0, part.T))
            expected.append(of_pycocotools(image))
        assert encode_parts(parts, (width, height)) == expected


def read_cell(mask, row, column):
    side = len(mask)
    return mask[row][column] if 0 <= row < side and 0 <= column < side else 0.0


def read_between(mask, y, x):
    """The mask at a place between its cells, with zeros around it."""
    row, column = math.floor(y), math.floor(x)
    total = 0.0
    for i, by_row in ((row, 1 - (y - row)), (row + 1, y - row)):
        for j, by_column in ((column, 1 - (x - column)), (column + 1, x - column)):
            total += by_row * by_column * read_cell(mask, i, j)
    return total


def paste_pixel_by_pixel(mask, box, threshold, size_wh):
    """The image with one mask in its half-open box, and how near pixels are to the threshold."""
    width, height = size_wh
    pasted, margins = np.zeros((height, width), bool), np.ones((height, width))
    x1, y1, x2, y2 = map(float, box)
    if x2 <= x1 or y2 <= y1:
        return pasted, margins
    for i in range(height):
        for j in range(width):
            y = (i + 0.5 - y1) / (y2 - y1) * len(mask) - 0.5
            x = (j + 0.5 - x1) / (x2 - x1) * len(mask) - 0.5
            value = read_between(mask, y, x)
            pasted[i, j], margins[i, j] = value >= threshold, abs(value - threshold)
    return pasted, margins


@pytest.mark.parametrize(("side", "threshold"), [(1, 0.5), (5, 0.5), (28, 0.25)])
def test_sub_pixel_masks_are_those_of_a_loop_over_pixels(side, threshold):
    size_wh = (23, 17)
    probabilities, boxes = draws(6, count=16, side=side)
    boxes[4:8] = [[2.25, 3.5, 9.75, 12], [-4, -3, 30, 20], [7, 7, 7.4, 7.6], [9, 2, 3, 8]]
    rule = array_masks.SubPixelPaste(threshold)
    decoded = [mask_utils.decode(each) for each in rule.encode(probabilities, boxes, size_wh)]
    filled = 0
    for mask, box, found in zip(probabilities.tolist(), boxes, decoded, strict=True):
        expected, margins = paste_pixel_by_pixel(mask, box, threshold, size_wh)
        differs = found.astype(bool) != expected
        assert not (differs & (margins > 1e-5)).any()
        filled += int(expected.sum())
    assert filled > 20
