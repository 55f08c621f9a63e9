"""Pasting and run lengths in plain NumPy, against the package's operator and pycocotools."""

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch

from centermask_runtime import masks as array_masks
from centermask_runtime.run_lengths import compressed, encode_part
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


def test_texts_are_those_of_pycocotools():
    random = np.random.default_rng(5)
    for _ in range(50):
        shape = tuple(random.integers(1, 40, 2))
        image = random.random(shape) < random.choice([0.0, 0.02, 0.5, 1.0])
        expected = mask_utils.encode(np.asfortranarray(image.astype(np.uint8)))["counts"]
        assert encode_part(0, 0, image.T, shape[::-1]) == expected
    counts = np.array([2**31, 5, 2**31 - 7, 1, 2**20], dtype=np.int64)
    expected = mask_utils.frPyObjects({"size": [1, int(counts.sum())], "counts": counts}, 1, 1)
    assert compressed(counts) == expected["counts"]
