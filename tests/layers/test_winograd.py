import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.layers import (
    Int16Weight,
    ops_status,
    pack_winograd_weight,
    pack_winograd_weight_int16,
    winograd_conv3x3,
    winograd_conv3x3_int16,
)
from maskrcnn_benchmark.layers._ops import packing, winograd
from tests.layers.inputs import implementations
from tests.layers.op_cases.case import seeded

KERNELS = implementations("winograd_conv3x3")
implementation = pytest.mark.parametrize("compute", KERNELS.values(), ids=KERNELS)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


@implementation
def test_one_cell_by_hand(compute):
    # Of the kernel only its middle meets the map: 3 * 5 + 0.5.
    weight = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    maps = torch.full((1, 1, 1, 1), 3.0)
    result = compute(maps, pack_winograd_weight(weight), torch.tensor([0.5]), 1)
    assert result.item() == pytest.approx(15.5, abs=1e-5)
    result = compute(-maps, pack_winograd_weight(weight), torch.tensor([0.5]), 1, True)
    assert result.item() == 0.0


@implementation
@pytest.mark.parametrize("place", [(0, 0), (3, 4), (5, 9)])
def test_a_single_one_spreads_the_kernel(compute, place):
    y, x = place
    weight = drawn(3, 1, 3, 3)
    maps = torch.zeros(1, 1, 6, 10)
    maps[0, 0, y, x] = 1
    result = compute(maps, pack_winograd_weight(weight), torch.zeros(3), 1)
    expected = torch.zeros(3, 8, 12)
    expected[:, y : y + 3, x : x + 3] = weight[:, 0].flip(1, 2)
    torch.testing.assert_close(result[0], expected[:, 1:-1, 1:-1], rtol=0, atol=2e-6)


@implementation
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize(
    ("shape", "num_outputs"), [((2, 5, 3, 9), 7), ((1, 64, 13, 17), 80), ((3, 257, 14, 14), 32)]
)
def test_the_plain_convolution(compute, shape, num_outputs, padding):
    maps, bias = drawn(*shape), drawn(num_outputs, seed=1)
    weight = drawn(num_outputs, shape[1], 3, 3, seed=2) / (9 * shape[1]) ** 0.5
    result = compute(maps, pack_winograd_weight(weight), bias, padding)
    expected = F.conv2d(maps.double(), weight.double(), bias.double(), padding=padding)
    assert result.is_contiguous(memory_format=torch.channels_last)
    # Measured: 2.4e-6.
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-5)


def test_rounding_is_a_few_times_that_of_the_plain_convolution():
    maps = drawn(1, 256, 32, 32).relu()
    weight = drawn(256, 256, 3, 3, seed=1) / (9 * 256) ** 0.5
    exact = F.conv2d(maps.double(), weight.double(), padding=1)
    found = winograd_conv3x3(maps, pack_winograd_weight(weight), torch.zeros(256))
    # The plain sum of 32 bits, one channel after the other.
    plain = sum(F.conv2d(maps[:, c : c + 1], weight[:, c : c + 1], padding=1) for c in range(256))
    ours, theirs = ((x - exact).square().mean().sqrt() for x in (found, plain))
    # Measured: 4.7e-7 and 2.0e-7, where results are of the size of 0.7; with the plain twin, which
    # adds all channels up in one sum, 6.2e-7.
    assert ours < 4 * theirs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    maps, bias = drawn(2, 40, 9, 13).to(dtype), drawn(50, seed=1)
    weight = pack_winograd_weight(drawn(50, 40, 3, 3, seed=2) / 19)
    result = winograd_conv3x3(maps, weight, bias)
    assert result.dtype == dtype
    precise = winograd_conv3x3(maps.float(), weight, bias)
    # Half a unit of the last of its bits, and what 32 bits lose before.
    half_unit = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(result.float(), precise, rtol=half_unit, atol=1e-5)


def test_bfloat16_that_are_no_numbers():
    maps = torch.zeros(1, 1, 12, 12, dtype=torch.bfloat16)
    maps[0, 0, 0, 0], maps[0, 0, 11, 11] = torch.nan, torch.inf
    weight = pack_winograd_weight(drawn(2, 1, 3, 3))
    result = winograd_conv3x3(maps, weight, torch.zeros(2), 1, True)
    assert not bool(result[:, :, :2, :2].isfinite().any())
    assert not bool(result[:, :, 10:, 10:].isfinite().any())
    # In the tiles between nothing is spoilt.
    assert bool((result[:, :, 4:8, 4:8] == 0).all())


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@pytest.mark.parametrize("shape", [(1, 32, 40, 50), (2, 16, 5, 3), (1, 80, 9, 9)])
def test_thread_count_changes_no_bit(shape):
    maps, bias = drawn(*shape), drawn(130, seed=1)
    weight = pack_winograd_weight(drawn(130, shape[1], 3, 3, seed=2))
    results = []
    for count in (1, 2, 7):
        torch.set_num_threads(count)
        results.append(winograd_conv3x3(maps, weight, bias))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_layouts_change_no_bit():
    maps, bias = drawn(2, 20, 9, 11), drawn(30, seed=1)
    weight = pack_winograd_weight(drawn(30, 20, 3, 3, seed=2))
    last = winograd_conv3x3(maps.contiguous(memory_format=torch.channels_last), weight, bias)
    assert torch.equal(winograd_conv3x3(maps, weight, bias), last)
    doubled = maps.repeat_interleave(2, dim=3)[..., ::2]
    assert torch.equal(winograd_conv3x3(doubled, weight, bias), last)


def test_packed_weights_can_be_unpacked():
    for num_outputs in (1, 16, 64, 70, 150):
        coefficients = winograd.transform_weight(drawn(num_outputs, 3, 3, 3))
        packed = packing.pack(coefficients)
        assert torch.equal(
            packing.unpack(packed, winograd.NUM_POINTS, 3, num_outputs), coefficients
        )


def test_it_has_no_derivative():
    maps = drawn(1, 2, 4, 4).requires_grad_()
    result = winograd_conv3x3(maps, pack_winograd_weight(drawn(3, 2, 3, 3)), torch.zeros(3))
    with pytest.raises(NotImplementedError, match="winograd_conv3x3"):
        result.sum().backward()


OF_INTEGERS = implementations("winograd_conv3x3_int16")
either_way = pytest.mark.parametrize("compute", OF_INTEGERS.values(), ids=OF_INTEGERS)


@either_way
def test_integers_by_hand(compute):
    # Of the kernel only its middle meets the map: 3 * 5 + 0.5, to 2^-14 of the patch's greatest.
    weight = pack_winograd_weight_int16(torch.arange(1.0, 10.0).view(1, 1, 3, 3))
    maps = torch.full((1, 1, 1, 1), 3.0)
    assert compute(maps, *weight, torch.tensor([0.5]), 1).item() == pytest.approx(15.5, abs=3e-3)
    assert compute(-maps, *weight, torch.tensor([0.5]), 1, True).item() == 0.0


@either_way
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize(
    ("shape", "num_outputs"), [((2, 5, 3, 9), 7), ((1, 64, 13, 17), 80), ((3, 257, 14, 14), 32)]
)
def test_integers_give_the_plain_convolution_nearly(compute, shape, num_outputs, padding):
    maps, bias = drawn(*shape), drawn(num_outputs, seed=1)
    weight = drawn(num_outputs, shape[1], 3, 3, seed=2) / (9 * shape[1]) ** 0.5
    result = compute(maps, *pack_winograd_weight_int16(weight), bias, padding)
    expected = F.conv2d(maps.double(), weight.double(), bias.double(), padding=padding)
    assert result.is_contiguous(memory_format=torch.channels_last)
    # Measured: 2.6e-4 to 5.9e-4 of the results, which the bias makes twice as large.
    assert (result - expected).norm() <= 1e-3 * expected.norm()


def test_integers_are_nearer_than_bfloat16():
    maps = drawn(1, 256, 32, 32).relu()
    weight = drawn(256, 256, 3, 3, seed=1) / (9 * 256) ** 0.5
    exact = F.conv2d(maps.double(), weight.double(), padding=1)
    found = winograd_conv3x3_int16(maps, pack_winograd_weight_int16(weight), torch.zeros(256))
    rounded = F.conv2d(maps.bfloat16().double(), weight.bfloat16().double(), padding=1)
    ours, theirs = ((x - exact).norm() / exact.norm() for x in (found, rounded))
    # Measured: 6.3e-4 and 2.4e-3.
    assert ours < 0.4 * theirs


@either_way
def test_no_sum_of_integers_overflows(compute):
    # All coefficients of a point are as large as can be, and of the signs of the weights.
    weight = torch.ones(16, 64, 3, 3)
    weight[8:] = -1
    maps = torch.ones(1, 64, 12, 12)
    result = compute(maps, *pack_winograd_weight_int16(weight), torch.zeros(16), 0)
    assert (result[:, :8] - 576).abs().max() < 0.2
    assert (result[:, 8:] + 576).abs().max() < 0.2


@either_way
def test_integers_of_what_is_no_number(compute):
    maps = torch.zeros(1, 70, 12, 12)
    maps[0, 0, 0, 0], maps[0, 69, 11, 11] = torch.nan, -torch.inf
    weight = pack_winograd_weight_int16(drawn(2, 70, 3, 3))
    result = compute(maps, *weight, torch.zeros(2), 1, True)
    assert not bool(result[:, :, :2, :2].isfinite().any())
    assert not bool(result[:, :, 10:, 10:].isfinite().any())
    # In the tiles between nothing is spoilt.
    assert bool((result[:, :, 4:8, 4:8] == 0).all())


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@pytest.mark.parametrize("shape", [(1, 32, 40, 50), (2, 16, 5, 3), (1, 80, 9, 9)])
def test_thread_count_changes_no_bit_of_integers(shape):
    maps, bias = drawn(*shape), drawn(130, seed=1)
    weight = pack_winograd_weight_int16(drawn(130, shape[1], 3, 3, seed=2))
    results = []
    for count in (1, 2, 7):
        torch.set_num_threads(count)
        results.append(winograd_conv3x3_int16(maps, weight, bias))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("num_channels", [1, 2, 63, 65, 130])
@pytest.mark.parametrize("num_outputs", [1, 16, 70])
def test_integers_and_scales_are_the_weights(num_channels, num_outputs):
    coefficients = winograd.transform_weight(drawn(num_outputs, num_channels, 3, 3))
    integers, scales = packing.round_weight(coefficients)
    packed = Int16Weight(packing.pack_pairs(integers), packing.pack(scales))
    even = num_channels + num_channels % 2
    assert torch.equal(
        packing.unpack_pairs(packed.integers, winograd.NUM_POINTS, even, num_outputs), integers
    )
    found = integers[:, :num_channels] * scales.repeat_interleave(64, 1)[:, :num_channels].double()
    steps = scales.repeat_interleave(64, 1)[:, :num_channels]
    assert bool(((found - coefficients).abs() <= 0.5001 * steps).all())
    sums = integers.long().abs().split(64, dim=1)
    assert max(int(depth.sum(1).max()) for depth in sums) * 16383 < 2**31


def test_weights_of_other_channels_are_refused():
    weight = pack_winograd_weight_int16(drawn(5, 7, 3, 3))
    with pytest.raises(ValueError, match="weight"):
        winograd_conv3x3_int16(drawn(1, 4, 3, 3), weight, torch.zeros(5))


def test_integers_have_no_derivative():
    maps = drawn(1, 2, 4, 4).requires_grad_()
    weight = pack_winograd_weight_int16(drawn(3, 2, 3, 3))
    result = winograd_conv3x3_int16(maps, weight, torch.zeros(3))
    with pytest.raises(NotImplementedError, match="winograd_conv3x3_int16"):
        result.sum().backward()
