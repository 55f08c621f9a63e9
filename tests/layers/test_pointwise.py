import math

import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.layers import (
    ops_status,
    pack_pointwise_weight_int16,
    pointwise_conv_int16,
)
from tests.layers.inputs import implementations
from tests.layers.op_cases.case import seeded

KERNELS = implementations("pointwise_conv_int16")
implementation = pytest.mark.parametrize("compute", KERNELS.values(), ids=KERNELS)
UNLIMITED = (-math.inf, math.inf)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


@implementation
def test_one_cell_by_hand(compute):
    # 2 * 3 + 4 * 5 + 0.5 - 1, to 2^-14 of the greatest of the cell.
    maps, weight = torch.tensor([2.0, 4.0]).view(1, 2, 1, 1), torch.tensor([[3.0, 5.0]])
    packed = pack_pointwise_weight_int16(weight.view(1, 2, 1, 1))
    options = (torch.tensor([0.5]), -torch.ones(1, 1, 1, 1), 1)
    assert compute(maps, *packed, *options, *UNLIMITED).item() == pytest.approx(25.5, abs=3e-3)
    assert compute(maps, *packed, *options, -1.0, 6.0).item() == 6.0
    assert compute(-maps, *packed, *options, -1.0, 6.0).item() == -1.0


@implementation
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("shape", "num_outputs"), [((2, 5, 3, 9), 7), ((1, 64, 13, 17), 80), ((3, 257, 14, 14), 32)]
)
def test_the_plain_convolution_nearly(compute, shape, num_outputs, stride):
    maps, bias = drawn(*shape), drawn(num_outputs, seed=1)
    weight = drawn(num_outputs, shape[1], 1, 1, seed=2) / shape[1] ** 0.5
    exact = F.conv2d(maps.double(), weight.double(), bias.double(), stride=stride)
    addend = drawn(*exact.shape, seed=3)
    packed = pack_pointwise_weight_int16(weight)
    result = compute(maps, *packed, bias, addend, stride, 0.0, math.inf)
    expected = (exact + addend).relu()
    assert result.is_contiguous(memory_format=torch.channels_last)
    # Measured: 2e-5 to 6e-5 of the results, which bias and addend make larger.
    assert (result - expected).norm() <= 2e-4 * expected.norm()


@implementation
def test_no_sum_of_integers_overflows(compute):
    weight = torch.ones(16, 640, 1, 1)
    weight[8:] = -1
    packed = pack_pointwise_weight_int16(weight)
    result = compute(torch.ones(1, 640, 1, 7), *packed, torch.zeros(16), None, 1, *UNLIMITED)
    assert (result[:, :8] - 640).abs().max() < 0.2
    assert (result[:, 8:] + 640).abs().max() < 0.2


@implementation
def test_a_cell_that_is_no_number_spoils_itself_alone(compute):
    maps = torch.zeros(1, 70, 3, 3)
    maps[0, 0, 0, 0], maps[0, 69, 2, 2] = torch.nan, -torch.inf
    packed = pack_pointwise_weight_int16(drawn(2, 70, 1, 1))
    result = compute(maps, *packed, torch.zeros(2), None, 1, 0.0, 6.0)
    spoilt = torch.zeros(3, 3, dtype=torch.bool)
    spoilt[0, 0] = spoilt[2, 2] = True
    assert bool((result.isnan() == spoilt).all())
    assert bool((result[..., ~spoilt] == 0).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_rounded_at_the_end(dtype):
    maps, bias = drawn(2, 40, 9, 13).to(dtype), drawn(50, seed=1)
    weight = pack_pointwise_weight_int16(drawn(50, 40, 1, 1, seed=2) / 6)
    addend = drawn(2, 50, 9, 13, seed=3).to(dtype)
    result = pointwise_conv_int16(maps, weight, bias, addend)
    assert result.dtype == dtype
    precise = pointwise_conv_int16(maps.float(), weight, bias, addend.float())
    half_unit = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(result.float(), precise, rtol=half_unit, atol=1e-5)


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@pytest.mark.parametrize("shape", [(1, 32, 40, 50), (2, 16, 5, 3), (1, 80, 1, 3)])
def test_thread_count_changes_no_bit(shape):
    maps, bias = drawn(*shape), drawn(130, seed=1)
    weight = pack_pointwise_weight_int16(drawn(130, shape[1], 1, 1, seed=2))
    results = []
    for count in (1, 2, 7):
        torch.set_num_threads(count)
        results.append(pointwise_conv_int16(maps, weight, bias))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_weights_of_other_channels_are_refused():
    weight = pack_pointwise_weight_int16(drawn(5, 7, 1, 1))
    with pytest.raises(ValueError, match="weight"):
        pointwise_conv_int16(drawn(1, 4, 3, 3), weight, torch.zeros(5))


def test_it_has_no_derivative():
    maps = drawn(1, 2, 4, 4).requires_grad_()
    result = pointwise_conv_int16(
        maps, pack_pointwise_weight_int16(drawn(3, 2, 1, 1)), torch.zeros(3)
    )
    with pytest.raises(NotImplementedError, match="pointwise_conv_int16"):
        result.sum().backward()
