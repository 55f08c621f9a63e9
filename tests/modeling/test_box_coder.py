import math

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from tests.factories import random_boxes
from tests.golden_data import golden_npz

UNIT = (1.0, 1.0, 1.0, 1.0)
DETECTRON = (10.0, 10.0, 5.0, 5.0)


@pytest.fixture
def golden():
    return {key: torch.from_numpy(value) for key, value in golden_npz("ops").items()}


def test_codes_of_a_shifted_and_a_grown_box():
    start = torch.tensor([[0.0, 0.0, 9.0, 19.0]] * 3)
    reached = torch.tensor(
        [[0.0, 0.0, 9.0, 19.0], [5.0, -10.0, 14.0, 9.0], [-5.0, 0.0, 14.0, 19.0]]
    )
    expected = torch.tensor([[0, 0, 0, 0], [0.5, -0.5, 0, 0], [0, 0, math.log(2), 0]])
    assert_close(BoxCoder(UNIT).encode(reached, start), expected)
    weights = torch.tensor(DETECTRON)
    assert_close(BoxCoder(DETECTRON).encode(reached, start), expected * weights)


@pytest.mark.parametrize("weights", [UNIT, DETECTRON])
def test_decoding_undoes_encoding(weights):
    coder = BoxCoder(weights)
    boxes, start = random_boxes(30, seed=1), random_boxes(30, seed=2)
    assert_close(coder.decode(coder.encode(boxes, start), start), boxes, rtol=0, atol=2e-4)


def test_each_class_has_its_own_box():
    coder = BoxCoder(DETECTRON)
    start, codes = random_boxes(5), torch.randn(5, 12)
    decoded = coder.decode(codes, start)
    assert decoded.shape == (5, 12)
    for first in (0, 4, 8):
        assert_close(
            decoded[:, first : first + 4], coder.decode(codes[:, first : first + 4], start)
        )


def test_growth_is_clipped():
    start = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    decoded = BoxCoder(UNIT, bbox_xform_clip=math.log(3)).decode(
        torch.tensor([[0.0, 0.0, 99.0, 0.0]]), start
    )
    assert_close(decoded, torch.tensor([[-10.0, 0.0, 19.0, 9.0]]))


@pytest.mark.golden
@pytest.mark.parametrize(("name", "weights"), [("1", UNIT), ("10", DETECTRON)])
def test_codes_of_the_original(golden, name, weights):
    coder, start = BoxCoder(weights), golden["iou_b"][:12]
    codes = coder.encode(golden["iou_a"], start)
    assert_close(codes, golden[f"boxcoder_encode_{name}"], rtol=1e-5, atol=1e-5)
    assert_close(
        coder.decode(1.5 * codes, start), golden[f"boxcoder_decode_{name}"], rtol=1e-5, atol=1e-3
    )


@pytest.mark.golden
def test_clip_of_the_original(golden):
    decoded = BoxCoder(UNIT).decode(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), golden["iou_b"][:1])
    assert_close(decoded, golden["boxcoder_clip"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_no_boxes(num_classes):
    coder, nothing = BoxCoder(UNIT), torch.zeros(0, 4)
    assert coder.encode(nothing, nothing).shape == (0, 4)
    assert coder.decode(torch.zeros(0, 4 * num_classes), nothing).shape == (0, 4 * num_classes)


def test_gradient():
    start = random_boxes(3).double() + torch.tensor([0, 0, 5, 5])
    coder = BoxCoder(DETECTRON)
    codes = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda codes: coder.decode(codes, start), (codes,))


def test_boxes_take_the_dtype_of_the_codes():
    decoded = BoxCoder(UNIT).decode(torch.zeros(2, 4, dtype=torch.float64), random_boxes(2))
    assert decoded.dtype == torch.float64


def test_corners_may_be_edges():
    coder = BoxCoder(UNIT, pixel_offset=0)
    start = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    reached = torch.tensor([[5.0, -10.0, 25.0, 10.0]])
    assert_close(coder.encode(reached, start), torch.tensor([[1, -0.5, math.log(2), 0]]))
    assert_close(coder.decode(coder.encode(reached, start), start), reached)
