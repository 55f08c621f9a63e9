import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.layers import inverted_residual, ops_status, pack_inverted_residual
from maskrcnn_benchmark.layers._ops import inverted_residual as packing
from tests.layers.block_parts import drawn, weights
from tests.layers.inputs import implementations

KERNELS = implementations("inverted_residual")
implementation = pytest.mark.parametrize("compute", KERNELS.values(), ids=KERNELS)


@implementation
def test_one_cell_by_hand(compute):
    packed = pack_inverted_residual(
        (torch.tensor([2.0, -1.0]).view(2, 1, 1, 1), torch.tensor([0.5, 0.0])),
        (torch.arange(1.0, 19.0).view(2, 1, 3, 3), torch.tensor([1.0, -1.0])),
        (torch.tensor([[0.5, 3.0]]).view(1, 2, 1, 1), torch.tensor([-7.0])),
    )
    maps = torch.full((1, 1, 1, 1), 0.25)
    # Between: 2 / 4 + 1 / 2 = 1, and -1 / 4, which becomes 0. Only the middles of the kernels, 5
    # and 14, meet the map: 5 + 1 = 6, and -1, which becomes 0.
    assert compute(maps, *packed, 1, 1, False, 9.0).item() == 0.5 * 6 - 7
    assert compute(maps, *packed, 1, 1, True, 9.0).item() == 0.5 * 6 - 7 + 0.25
    # With limit 0.5: 0.5, and 5 * 0.5 + 1, which becomes 0.5.
    assert compute(maps, *packed, 1, 1, False, 0.5).item() == 0.5 * 0.5 - 7


@implementation
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("hw", [(1, 1), (2, 3), (13, 17), (14, 18)])
def test_the_three_convolutions(compute, hw, stride):
    expansion, depthwise, projection = weights(24, 100, 24)
    maps = drawn(2, 24, *hw)
    packed = pack_inverted_residual(expansion, depthwise, projection)
    result = compute(maps, *packed, 24, stride, stride == 1, 1.5)
    exact = [[x.double() for x in part] for part in (expansion, depthwise, projection)]
    x = F.conv2d(maps.double(), *exact[0]).clamp(0, 1.5)
    x = F.conv2d(x, *exact[1], stride=stride, padding=1, groups=100).clamp(0, 1.5)
    x = F.conv2d(x, *exact[2]) + (maps if stride == 1 else 0)
    assert result.is_contiguous(memory_format=torch.channels_last)
    # Measured: 1.2e-6.
    torch.testing.assert_close(result.double(), x, rtol=0, atol=5e-6)


@implementation
def test_without_expansion(compute):
    _, depthwise, projection = weights(1, 20, 7)
    maps = drawn(2, 20, 9, 8)
    packed = pack_inverted_residual(None, depthwise, projection)
    result = compute(maps, *packed, 7, 1, False, 6.0)
    between = F.conv2d(maps, *depthwise, padding=1, groups=20).clamp(0, 6)
    torch.testing.assert_close(result, F.conv2d(between, *projection), rtol=0, atol=5e-6)


@implementation
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_spoils_the_cells_around_it_alone(compute, value):
    # With weights of both signs infinity becomes a limit or 0; NaN stays NaN.
    maps = torch.zeros(1, 4, 9, 9)
    maps[0, 0, 4, 4] = value
    result = compute(maps, *pack_inverted_residual(*weights(4, 32, 3)), 3, 1, False, 6.0)
    is_number = result.isfinite().all(dim=1)[0]
    expected = torch.ones(9, 9, dtype=torch.bool)
    if value != value:
        expected[3:6, 3:6] = False
    assert torch.equal(is_number, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    maps = drawn(2, 40, 9, 13).to(dtype)
    packed = pack_inverted_residual(*weights(40, 70, 40))
    result = inverted_residual(maps, *packed, 40, adds_input=True)
    assert result.dtype == dtype
    precise = inverted_residual(maps.float(), *packed, 40, adds_input=True)
    half_unit = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(result.float(), precise, rtol=half_unit, atol=1e-5)


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@pytest.mark.parametrize("shape", [(1, 8, 40, 150), (3, 24, 15, 20), (1, 16, 5, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_thread_count_changes_no_bit(shape, stride):
    maps, packed = drawn(*shape), pack_inverted_residual(*weights(shape[1], 200, 20))
    results = []
    for count in (1, 2, 7):
        torch.set_num_threads(count)
        results.append(inverted_residual(maps, *packed, 20, stride))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_layouts_change_no_bit():
    maps, packed = drawn(2, 20, 9, 11), pack_inverted_residual(*weights(20, 120, 20))
    last = inverted_residual(maps.contiguous(memory_format=torch.channels_last), *packed, 20)
    assert torch.equal(inverted_residual(maps, *packed, 20), last)
    doubled = maps.repeat_interleave(2, dim=3)[..., ::2]
    assert torch.equal(inverted_residual(doubled, *packed, 20), last)


def test_packed_weights_can_be_unpacked():
    for num_outputs in (1, 16, 64, 70, 144, 150):
        rows = drawn(3, num_outputs)
        unpacked = packing.unpack(packing.pack(rows), 3)
        assert torch.equal(unpacked[:, :num_outputs], rows)
        assert not unpacked[:, num_outputs:].any()


def test_weights_that_do_not_fit_are_refused():
    expansion, depthwise, projection = weights(4, 32, 5)
    with pytest.raises(ValueError, match=r"^expansion: .*got \(31, 4, 1, 1\)"):
        pack_inverted_residual((expansion[0][1:], expansion[1][1:]), depthwise, projection)
    with pytest.raises(ValueError, match=r"^depthwise: .*got \(32, 1, 5, 5\)"):
        pack_inverted_residual(expansion, (torch.zeros(32, 1, 5, 5), depthwise[1]), projection)
    with pytest.raises(ValueError, match=r"^projection bias: .*got \(4,\)"):
        pack_inverted_residual(expansion, depthwise, (projection[0], projection[1][1:]))
    with pytest.raises(ValueError, match=r"^depthwise: .*none"):
        pack_inverted_residual(None, (torch.zeros(0, 1, 3, 3), torch.zeros(0)), projection)
