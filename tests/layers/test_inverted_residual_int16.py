import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.layers import (
    inverted_residual_int16,
    ops_status,
    pack_inverted_residual_int16,
)
from tests.layers.block_parts import drawn, weights
from tests.layers.inputs import implementations

KERNELS = implementations("inverted_residual_int16")
implementation = pytest.mark.parametrize("compute", KERNELS.values(), ids=KERNELS)


def exact(maps, parts, limit, *, stride=1, adds_input=False):
    """The three convolutions in 64 bits."""
    expansion, depthwise, projection = [[x.double() for x in part] for part in parts]
    x = F.conv2d(maps.double(), *expansion).clamp(0, limit)
    x = F.conv2d(x, *depthwise, stride=stride, padding=1, groups=len(depthwise[0])).clamp(0, limit)
    x = F.conv2d(x, *projection)
    return x + maps.double() if adds_input else x


def relative_error(result, expected):
    return ((result.double() - expected).norm() / expected.norm()).item()


@implementation
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("hw", [(1, 1), (2, 3), (13, 17), (14, 18)])
@pytest.mark.parametrize("channels", [24, 130])
def test_the_three_convolutions(compute, hw, stride, channels):
    parts, maps = weights(channels, 100, channels), drawn(2, channels, *hw)
    packed = pack_inverted_residual_int16(*parts, limit=2.5)
    result = compute(maps, *packed, channels, stride, stride == 1)
    expected = exact(maps, parts, 2.5, stride=stride, adds_input=stride == 1)
    assert result.is_contiguous(memory_format=torch.channels_last)
    # Measured: 1.3e-4.
    assert relative_error(result, expected) < 4e-4


@implementation
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e5, 1e30])
def test_sizes_of_cells_do_not_matter(compute, scale):
    expansion, depthwise, projection = weights(20, 40, 30)
    scaled = (expansion[0] / scale, expansion[1])
    packed = pack_inverted_residual_int16(scaled, depthwise, projection)
    maps = drawn(1, 20, 6, 9)
    expected = exact(maps, (expansion, depthwise, projection), 6.0)
    assert relative_error(compute(maps * scale, *packed, 30, 1, False), expected) < 4e-4


@implementation
def test_zeros_give_what_is_added(compute):
    parts, maps = weights(20, 40, 30), torch.zeros(1, 20, 6, 9)
    result = compute(maps, *pack_inverted_residual_int16(*parts), 30, 1, False)
    assert relative_error(result, exact(maps, parts, 6.0)) < 4e-4
    nothing = [(torch.zeros_like(w), torch.zeros_like(b)) for w, b in parts]
    result = compute(drawn(1, 20, 6, 9), *pack_inverted_residual_int16(*nothing), 30, 1, False)
    assert not result.any()


@implementation
def test_sums_that_are_as_large_as_can_be_stay_exact(compute):
    # All weights and values alike: no sum may leave 32 bits.
    ones = (torch.ones(64, 96, 1, 1), torch.zeros(64))
    kernel = (torch.ones(64, 1, 3, 3), torch.zeros(64))
    last = (torch.ones(16, 64, 1, 1), torch.zeros(16))
    maps = torch.full((1, 96, 3, 3), 1 - 2**-20)
    for sign in (1, -1):
        parts = ((ones[0] * sign, ones[1]), kernel, (last[0] * sign, last[1]))
        packed = pack_inverted_residual_int16(*parts, limit=1000.0)
        result = compute(maps * sign, *packed, 16, 1, False)
        assert relative_error(result, exact(maps * sign, parts, 1000.0)) < 4e-4


@implementation
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_spoils_the_cells_around_it_alone(compute, value, stride):
    maps = torch.zeros(1, 4, 9, 9)
    maps[0, 0, 4, 4] = value
    packed = pack_inverted_residual_int16(*weights(4, 32, 3))
    is_number = compute(maps, *packed, 3, stride, False).isfinite().all(dim=1)[0]
    expected = torch.ones(9, 9, dtype=torch.bool)
    expected[3:6, 3:6] = False
    assert torch.equal(is_number, expected[::stride, ::stride])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    maps = drawn(2, 40, 9, 13).to(dtype)
    packed = pack_inverted_residual_int16(*weights(40, 70, 40))
    result = inverted_residual_int16(maps, packed, 40, adds_input=True)
    assert result.dtype == dtype
    precise = inverted_residual_int16(maps.float(), packed, 40, adds_input=True)
    half_unit = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(result.float(), precise, rtol=half_unit, atol=1e-5)


@pytest.mark.skipif(
    "cpu" not in ops_status().kernels.get("inverted_residual_int16", ()), reason="no kernel"
)
@pytest.mark.parametrize("shape", [(1, 8, 40, 350), (3, 24, 15, 20), (1, 16, 5, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_thread_count_changes_no_bit(shape, stride):
    maps, packed = drawn(*shape), pack_inverted_residual_int16(*weights(shape[1], 200, 20))
    results = []
    for count in (1, 2, 7):
        torch.set_num_threads(count)
        results.append(inverted_residual_int16(maps, packed, 20, stride))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_weights_that_do_not_fit_are_refused():
    expansion, depthwise, projection = weights(4, 32, 5)
    with pytest.raises(ValueError, match=r"^expansion: .*got \(31, 4, 1, 1\)"):
        pack_inverted_residual_int16((expansion[0][1:], expansion[1][1:]), depthwise, projection)
    with pytest.raises(ValueError, match=r"^projection bias: .*got \(4,\)"):
        pack_inverted_residual_int16(expansion, depthwise, (projection[0], projection[1][1:]))
    empty = (torch.zeros(0, 1, 3, 3), torch.zeros(0))
    with pytest.raises(ValueError, match=r"^depthwise: .*none"):
        pack_inverted_residual_int16(expansion, empty, projection)
    for limit in (0.0, torch.inf, torch.nan):
        with pytest.raises(ValueError, match=r"^limit: "):
            pack_inverted_residual_int16(expansion, depthwise, projection, limit)


@pytest.mark.parametrize("name", ["expansion", "depthwise", "projection", "factors"])
def test_weights_of_other_shapes_and_types_are_refused(name):
    packed = pack_inverted_residual_int16(*weights(4, 32, 5))
    weight = getattr(packed, name)
    for other in (weight[:-1], weight.double()):
        with pytest.raises(ValueError, match=f"^{name}.*: expected"):
            inverted_residual_int16(drawn(1, 4, 3, 3), packed._replace(**{name: other}), 5)
