"""Masks pasted into run lengths: equal to pasting and encoding whole planes."""

from itertools import pairwise

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_benchmark.layers import paste_masks_rle
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.factories import blob_probabilities, masks_in
from tests.layers.inputs import implementations

OPERATORS = implementations("paste_masks_rle")
BOTH = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
NAN = float("nan")


def texts(operator, masks, boxes, image_hw, threshold=0.5, padding=1):
    characters, offsets = operator(masks, boxes, *image_hw, threshold, padding)
    assert characters.dtype == torch.uint8
    assert offsets.dtype == torch.int64
    whole, ends = characters.numpy().tobytes(), offsets.tolist()
    assert ends[0] == 0
    assert ends[-1] == len(whole)
    return [whole[begin:end] for begin, end in pairwise(ends)]


def pasted_and_encoded(masks, boxes, image_hw, threshold=0.5, padding=1):
    """Oracle: whole planes, encoded by pycocotools."""
    boxlist = BoxList(boxes, (image_hw[1], image_hw[0]))
    planes = masks_in(boxlist, masks[:, None], threshold, padding).planes().numpy()
    return [mask_utils.encode(np.asfortranarray(plane))["counts"] for plane in planes]


def random_boxes(count, image_hw, seed, largest=1e3):
    """Boxes of 0.1 px to ``largest`` a side, in the image and beside it."""
    generator = torch.Generator().manual_seed(seed)
    room = torch.tensor(image_hw[::-1])
    centers = (torch.rand(count, 2, generator=generator) * 1.4 - 0.2) * room
    exponents = torch.rand(count, 2, generator=generator)
    halves = 0.05 * (largest / 0.1) ** exponents
    return torch.cat([centers - halves, centers + halves], dim=1)


@BOTH
def test_two_pixels_by_hand(operator):
    # Column-wise runs of a 2 x 3 image whose middle column is set: 2 zeros, 2 ones, 2 zeros.
    boxes = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    assert texts(operator, torch.ones(1, 2, 2), boxes, (2, 3), padding=0) == [b"222"]


@BOTH
def test_long_runs_take_several_characters(operator):
    # 40000 zeros, 200 ones, 39800 zeros; 39800 as itself, since it is but the third count.
    boxes = torch.tensor([[200.0, 0.0, 200.0, 199.0]])
    (text,) = texts(operator, torch.ones(1, 4, 4), boxes, (200, 400), padding=0)
    plane = np.zeros((200, 400), dtype=np.uint8, order="F")
    plane[:, 200] = 1
    assert text == mask_utils.encode(plane)["counts"]
    assert mask_utils.decode({"size": [200, 400], "counts": text}).sum() == 200


@BOTH
@pytest.mark.parametrize(("threshold", "padding"), [(0.5, 1), (0.0, 0), (0.25, 3)])
def test_agrees_with_pasted_planes(operator, threshold, padding):
    masks, image_hw = blob_probabilities(40, 28)[:, 0], (70, 50)
    boxes = random_boxes(40, image_hw, seed=1)
    expected = pasted_and_encoded(masks, boxes, image_hw, threshold, padding)
    assert texts(operator, masks, boxes, image_hw, threshold, padding) == expected
    assert len(set(expected)) > 10


@BOTH
def test_ties_with_the_threshold_are_below_it(operator):
    masks = torch.full((2, 2, 2), 0.5)
    masks[1] = torch.nextafter(masks[1], torch.ones(2, 2))
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)
    assert texts(operator, masks, boxes, (2, 2), padding=0) == [b"4", b"04"]


@BOTH
def test_not_a_number_is_not_above_the_threshold(operator):
    # Its neighbour in the row is interpolated with it, at a weight of 0.
    masks = torch.tensor([[[1.0, NAN], [1.0, 1.0]]])
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    expected = mask_utils.encode(np.array([[0, 0], [1, 1]], dtype=np.uint8, order="F"))["counts"]
    assert texts(operator, masks, boxes, (2, 2), padding=0) == [expected]


@BOTH
@pytest.mark.parametrize("extent", [1e6, 3e7, 1e9, 1e30, 3e38])
def test_huge_boxes(operator, extent):
    masks, image_hw = blob_probabilities(3, 28)[:, 0], (30, 20)
    boxes = torch.tensor([
        [-extent, -extent, extent, extent],
        [5.0, -extent, 9.0, 2.0],
        [-extent, 3.0, 0.3 * extent, 20.0],
    ])  # fmt: skip
    result = texts(operator, masks, boxes, image_hw)
    assert result == texts(OPERATORS["reference"], masks, boxes, image_hw)
    if extent < 1e38:  # beyond, sums of corners overflow
        assert result == pasted_and_encoded(masks, boxes, image_hw)


coordinates = st.one_of(
    st.integers(-40, 80).map(float),
    st.floats(-100, 150, width=32),
    st.floats(-(2.0**40), 2.0**40, width=32),
)
quarters = st.integers(0, 4).map(lambda number: number / 4)
probabilities = st.one_of(quarters, quarters, st.floats(0, 1, width=32), st.just(NAN))


@st.composite
def cases(draw):
    count, side = draw(st.integers(0, 3)), draw(st.integers(1, 5))
    masks = [draw(probabilities) for _ in range(count * side * side)]
    boxes = [draw(coordinates) for _ in range(count * 4)]
    return (
        torch.tensor(masks).reshape(count, side, side),
        torch.tensor(boxes).reshape(count, 4),
        (draw(st.integers(1, 40)), draw(st.integers(1, 40))),
        draw(quarters),
        draw(st.integers(0, 3)),
    )


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(cases())
def test_any_boxes_and_masks(case):
    expected = pasted_and_encoded(*case)
    for operator in OPERATORS.values():
        assert texts(operator, *case) == expected


def test_threads_change_nothing():
    masks, image_hw = blob_probabilities(64, 14)[:, 0], (50, 60)
    boxes = random_boxes(64, image_hw, seed=2)
    expected = pasted_and_encoded(masks, boxes, image_hw)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert texts(OPERATORS["dispatched"], masks, boxes, image_hw) == expected
    finally:
        torch.set_num_threads(threads)


def test_function_takes_any_memory_layout_type_and_graph():
    masks = blob_probabilities(3, 14)[:, 0].double().transpose(1, 2).requires_grad_()
    boxes = random_boxes(3, (50, 60), seed=3).double().t().contiguous().t()
    rles = paste_masks_rle(masks, boxes, (50, 60))
    expected = pasted_and_encoded(masks.detach().float(), boxes.float(), (50, 60))
    assert [rle["counts"].encode() for rle in rles] == expected
    assert all(rle["size"] == [50, 60] for rle in rles)


@BOTH
def test_nothing_to_paste(operator):
    assert texts(operator, torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)) == []
    assert paste_masks_rle(torch.zeros(0, 0, 0), torch.zeros(0, 4), (5, 6)) == []
    # An image without pixels has one run of no zeros.
    assert texts(operator, torch.ones(1, 2, 2), torch.zeros(1, 4), (0, 6)) == [b"0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": torch.zeros(2, 1, 28, 28)}, r"masks: .*\(N, M, M\), got \(2, 1, 28, 28\)"),
        ({"masks": torch.zeros(2, 28, 14)}, r"masks: .*got \(2, 28, 14\)"),
        ({"boxes": torch.zeros(3, 4)}, r"boxes: .*\(2, 4\).*got \(3, 4\)"),
        ({"boxes": torch.full((2, 4), NAN)}, r"^boxes: "),
        ({"threshold": -0.1}, r"threshold: .*got -0\.1"),
        ({"threshold": NAN}, r"threshold: .*got nan"),
        ({"padding": -1}, r"padding: .*got -1"),
    ],
)
def test_wrong_inputs_are_named(arguments, message):
    sound = {"masks": torch.zeros(2, 4, 4), "boxes": torch.zeros(2, 4), "image_hw": (5, 6)}
    with pytest.raises(ValueError, match=message):
        paste_masks_rle(**{**sound, **arguments})
