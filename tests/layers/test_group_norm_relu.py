import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.layers import group_norm_relu, ops_status
from tests.layers.inputs import implementations
from tests.layers.op_cases.group_norm_relu import call

KERNELS = implementations("group_norm_relu")
LAYOUTS = (torch.contiguous_format, torch.channels_last)
implementation = pytest.mark.parametrize("compute", KERNELS.values(), ids=KERNELS)
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=["first", "last"])


def exactly(made):
    """The definition, in 64 bits."""
    maps = made.input.double()
    groups = maps.view(len(maps), made.num_groups, -1)
    mean = groups.mean(dim=2, keepdim=True)
    variance = (groups - mean).square().mean(dim=2, keepdim=True)
    values = ((groups - mean) / (variance + made.eps).sqrt()).view_as(maps)
    values = values * made.weight.double()[:, None, None] + made.bias.double()[:, None, None]
    return values.relu() if made.relu else values


@implementation
def test_two_pixels_by_hand(compute):
    # Mean 3, variance 4: -1 and 1 before weight and bias.
    maps = torch.tensor([1.0, 5.0]).view(1, 1, 1, 2)
    parameters = torch.tensor([2.0]), torch.tensor([0.5])
    assert compute(maps, 1, *parameters, 0.0).flatten().tolist() == [0.0, 2.5]
    assert compute(maps, 1, *parameters, 0.0, False).flatten().tolist() == [-1.5, 2.5]
    # A variance of 4 + 12 halves both.
    assert compute(maps, 1, *parameters, 12.0, False).flatten().tolist() == [-0.5, 1.5]


@layouts
@implementation
@pytest.mark.parametrize(("shape", "num_groups"), [((2, 64, 13, 21), 32), ((1, 12, 60, 70), 3)])
def test_the_definition(compute, layout, shape, num_groups):
    made = call(torch.float32, shape, num_groups)
    expected = exactly(made)
    result = compute(made.input.contiguous(memory_format=layout), *made[1:])
    assert result.is_contiguous(memory_format=layout)
    torch.testing.assert_close(result.double(), expected, rtol=2e-5, atol=2e-5)


@layouts
@pytest.mark.parametrize("relu", [True, False])
def test_bfloat16_is_rounded_once(layout, relu):
    made = call(torch.bfloat16, (2, 64, 13, 21), 32)._replace(relu=relu)
    result = group_norm_relu(made.input.contiguous(memory_format=layout), *made[1:])
    assert result.dtype == torch.bfloat16
    expected = exactly(made)
    # Half a unit of the last of 8 bits, and what 32 bits lose before.
    assert bool(((result.double() - expected).abs() <= expected.abs() * 2**-8 + 1e-5).all())


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@layouts
def test_thread_count_changes_no_bit(dtype, layout):
    made = call(dtype, (2, 64, 40, 50), 32)
    maps = made.input.contiguous(memory_format=layout)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            results.append(group_norm_relu(maps, *made[1:]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@layouts
@implementation
def test_bfloat16_that_are_no_numbers(compute, layout):
    made = call(torch.bfloat16, (2, 4, 3, 5), 2)
    made.input[0, 0, 0, 0], made.input[1, 3, 2, 4] = torch.nan, torch.inf
    result = compute(made.input.contiguous(memory_format=layout), *made[1:])
    assert bool(result[0, :2].isnan().all())
    assert bool(result[1, 2:].isnan().all())
    assert bool(result[0, 2:].isfinite().all())
    assert bool(result[1, :2].isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_parameters_may_be_of_another_type(dtype):
    made = call(torch.float32, (1, 8, 5, 6), 4)
    parameters = made.weight.to(dtype), made.bias.to(dtype)
    result = group_norm_relu(made.input.to(dtype), 4, *parameters)
    assert result.dtype == dtype
    precise = group_norm_relu(made.input.to(dtype).float(), 4, *(x.float() for x in parameters))
    torch.testing.assert_close(result, precise.to(dtype))


def test_autocast_changes_no_type():
    made = call(torch.float32, (1, 8, 5, 6), 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert group_norm_relu(*made).dtype == torch.float32
        assert group_norm_relu(made.input.bfloat16(), *made[1:]).dtype == torch.bfloat16


@pytest.mark.parametrize("relu", [True, False])
def test_gradients_are_those_of_pytorch(relu):
    made = call(torch.float64, (2, 6, 3, 4), 3)._replace(relu=relu)
    leaves = [made.input, made.weight, made.bias]
    gradients = []
    for function in (group_norm_relu, lambda x, g, w, b, *_: F.group_norm(x, g, w, b)):
        for leaf in leaves:
            leaf.requires_grad_().grad = None
        result = function(made.input, 3, made.weight, made.bias, 1e-5, relu)
        result = result.relu() if relu else result
        result.cos().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(*gradients)
    with torch.no_grad():
        assert not group_norm_relu(*made).requires_grad


def test_the_operator_itself_has_no_derivative():
    made = call(torch.float32, (1, 8, 5, 6), 4)
    result = torch.ops.centermask.group_norm_relu(made.input.requires_grad_(), *made[1:])
    with pytest.raises(NotImplementedError, match="group_norm_relu has no derivative"):
        result.sum().backward()
